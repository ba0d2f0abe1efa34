//! The demo's house: Palermo's routes and schemas, with this run's ports, tokens and folders.
//!
//! Invariant: routes and schemas are those of the repository, unchanged.

use std::{io, net::SocketAddr, path::Path};

use snodo_core::ids::Digest;
use snodo_tests::bus::HouseFolder;

/// The online desk's token in this run.
pub(crate) const SPORTELLO_TOKEN: &str = "demo-token-of-the-online-desk";
/// The region's token in this run.
pub(crate) const REGION_TOKEN: &str = "demo-token-of-the-region";

/// Writes it.
pub(crate) fn write(house: &HouseFolder, repository: &Path, region: SocketAddr) -> io::Result<()> {
    house.copy(repository, "routes")?;
    house.copy(repository, "schemas")?;
    house.copy(repository, "config")?;
    let settings = std::fs::read_to_string(repository.join("config/snodo.yaml"))?;
    let settings = settings
        .replace("/var/lib/snodo", &house.path.join("data").display().to_string())
        .replace("127.0.0.1:8080", &house.http.to_string())
        .replace("127.0.0.1:9464", &house.metrics.to_string())
        .replace("https://servizi.regione.example/residence", &format!("http://{region}"));
    house.write("config/snodo.yaml", &settings)?;
    give_token(house, "comune-sportello", SPORTELLO_TOKEN)?;
    give_token(house, "region", REGION_TOKEN)
}

/// The digest of `token` in place of the example's.
fn give_token(house: &HouseFolder, party: &str, token: &str) -> io::Result<()> {
    let file = format!("config/parties/{party}.yaml");
    let text = std::fs::read_to_string(house.path.join(&file))?;
    let digest = Digest::of(token.as_bytes());
    let lines = text.lines().map(|line| {
        if line.starts_with("token:") {
            format!("token: {{ sha256: {digest} }}")
        } else {
            line.to_owned()
        }
    });
    house.write(&file, &(lines.collect::<Vec<_>>().join("\n") + "\n"))
}
