"""Judges the tokens of one question to an authority with PyJWT: code that shares nothing with ours.

Reads JSON from stdin; writes one line for each complaint. Exit 0: none. Exit 1: some.
"""

import base64
import hashlib
import json
import sys

import jwt

COMMON = {"iss", "aud", "jti", "iat", "exp"}
CLAIMS = {
    "assertion": COMMON | {"sub", "purposeId", "digest"},
    "evidence": COMMON | {"purposeId", "dnonce", "userID", "userLocation", "LoA"},
    "signature": COMMON | {"sub", "signed_headers"},
}
LONGEST_LIFE = 120


def judge(said):
    """Every complaint about what was said."""
    complaints = []
    claims = {}
    for name, expected in CLAIMS.items():
        audience = said["tokenAudience" if name == "assertion" else "serviceAudience"]
        try:
            claims[name] = read(said, said[name], audience)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            complaints.append(f"{name}: {error}")
            continue
        if set(claims[name]) != expected:
            complaints.append(f"{name}: other claims than {sorted(expected)}")
    if not complaints:
        complaints.extend(bindings(said, claims))
    return complaints


def read(said, token, audience):
    """The claims of a token of ours."""
    if any(part != part.rstrip("=") for part in token.split(".")):
        raise ValueError("padding")
    header = jwt.get_unverified_header(token)
    if header != {"alg": "RS256", "typ": "JWT", "kid": said["kid"]}:
        raise ValueError("another header")
    claims = jwt.decode(
        token,
        said["key"],
        algorithms=["RS256"],
        audience=audience,
        issuer=said["client"],
        leeway=0,
        options={"require": sorted(COMMON), "verify_iat": True},
    )
    if claims.get("sub", said["client"]) != said["client"]:
        raise ValueError("another subject")
    if not all(type(claims[name]) is int for name in ("iat", "exp")):
        raise ValueError("a time is no whole number")
    if not 0 < claims["exp"] - claims["iat"] <= LONGEST_LIFE:
        raise ValueError("lives too long")
    return claims


def bindings(said, claims):
    """What ties the tokens to each other and to the bytes that were sent."""
    assertion, evidence, signature = (claims[name] for name in CLAIMS)
    body = base64.b64decode(said["body"])
    digest = "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode()
    bound = hashlib.sha256(said["evidence"].encode()).hexdigest()
    signed = [{"digest": said["digest"]}, {"content-type": said["contentType"]}]
    ids = {token["jti"] for token in claims.values()}
    dnonce = evidence["dnonce"]
    rules = [
        ("the digest is of other bytes", said["digest"] == digest),
        ("other headers were signed", signature["signed_headers"] == signed),
        ("the voucher is bound to another evidence", assertion["digest"] == {"alg": "SHA256", "value": bound}),
        ("two purposes", assertion["purposeId"] == evidence["purposeId"] == said["purpose"]),
        ("the dnonce has not 13 digits", type(dnonce) is int and len(str(dnonce)) == 13),
        ("an id is used twice", len(ids) == len(claims)),
        ("somebody else asks", evidence["userID"] == said["user"]),
    ]
    return [complaint for complaint, holds in rules if not holds]


if __name__ == "__main__":
    found = judge(json.load(sys.stdin))
    print("\n".join(found))
    sys.exit(1 if found else 0)
