//! The benchmark.
#![allow(dead_code)]
mod measure;
mod relay;
#[tokio::main]
async fn main() {
    let uri = std::env::args().nth(1).unwrap();
    for _ in 0..3 {
        let m = relay::run(&uri, 40_000, &vec![b'x'; 1024]).await.unwrap();
        println!("{:.0}/s {:.1} us", m.per_second(), m.cpu_us_per_message());
    }
}
