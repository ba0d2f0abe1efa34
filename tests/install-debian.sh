#!/bin/sh
# Installs from Debian's packages what `make demo` and `make test` need, and says what it does.
# Usage: tests/install-debian.sh [rabbitmq] [postgresql] [promtool] [pyjwt]. Works as root or with sudo; starts no service.
set -eu

wanted=""
for part in "$@"; do
    case "$part" in
    rabbitmq)
        [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || wanted="$wanted rabbitmq-server" ;;
    postgresql)
        found=""
        for dir in /usr/lib/postgresql/*/bin; do [ -x "$dir/initdb" ] && found=yes; done
        [ -n "$found" ] || wanted="$wanted postgresql" ;;
    promtool)
        command -v promtool >/dev/null 2>&1 || wanted="$wanted prometheus" ;;
    pyjwt)
        /usr/bin/python3 -c "import jwt, cryptography" 2>/dev/null ||
            wanted="$wanted python3-jwt python3-cryptography" ;;
    *)
        echo "install-debian.sh: unknown part \`$part\`; the parts are rabbitmq, postgresql, promtool, pyjwt" >&2
        exit 2 ;;
    esac
done
[ -n "$wanted" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "This machine has no apt-get. Install by hand:$wanted" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    echo "Root rights are needed once. Run this, then try again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$wanted" >&2
    exit 1
fi

echo "installing from Debian's packages:$wanted"

# The packages would start servers on the standard ports; Snodo starts its own private ones.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi
clean() { [ -z "$made_policy" ] || $as_root rm -f "$policy"; }
trap clean EXIT

case "$wanted" in *postgresql*)
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        $as_root mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi ;;
esac

log=$(mktemp)
$as_root apt-get update >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y --no-install-recommends $wanted >"$log" 2>&1 ||
    { cat "$log" >&2; exit 1; }
rm -f "$log"
echo "installed:$wanted"
