//! Secrets that nobody chose.
//!
//! Invariant: they come from the operating system's generator, whole or not at all.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// `bytes` random bytes, in hexadecimal.
pub(crate) fn hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    if getrandom(&mut random[..], GetRandomFlags::empty())? < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_as_long_as_wanted_and_never_the_same() {
        let drawn = [32, 32].map(|bytes| hex(bytes).expect("drawn"));
        assert_ne!(drawn[0], drawn[1]);
        assert!(drawn.iter().all(|hex| hex.len() == 64), "{drawn:?}");
    }
}
