//! Documents on disk: a content-addressed store below the data folder. The only home of their files.
//!
//! Invariant: a file in its place is whole and durable: it was written beside, synced, renamed, and its
//! folder synced. What is read is digested on the way, and its last piece is handed on only if the digest
//! is right. Never more than one piece of a document is in memory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream::try_unfold};
use sha2::{Digest as _, Sha256};
use snodo_core::ids::Digest;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::spawn_blocking,
};

mod collector;
mod keeper;

pub use collector::Collector;
pub use keeper::Keeper;

/// Bytes of a document in hand.
const PIECE: usize = 64 << 10;

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    folder: Arc<Path>,
    incoming: Arc<Path>,
}

impl Store {
    /// Opens the store below `data` for the holder of `slot`. What a dead process left half written there
    /// is nobody's and goes.
    pub fn open(data: &Path, slot: &str) -> io::Result<Self> {
        let folder = data.join("documents");
        let incoming = folder.join("incoming").join(slot);
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        make_folder(&incoming)?;
        Ok(Self { folder: folder.into(), incoming: incoming.into() })
    }

    /// Begins a document.
    pub async fn begin(&self) -> io::Result<Incoming> {
        let path = self.incoming.join(uuid::Uuid::now_v7().to_string());
        let mut file = File::create_new(&path).await?;
        file.set_max_buf_size(PIECE);
        Ok(Incoming { file, left: Leftover(path), hash: Sha256::new(), size: 0 })
    }

    /// Opens a document that is to have this digest and size.
    pub async fn read(&self, digest: Digest, size: u64) -> io::Result<Reading> {
        let mut file = File::open(self.place(digest)).await?;
        file.set_max_buf_size(PIECE);
        if file.metadata().await?.len() != size {
            return Err(other_bytes());
        }
        Ok(Reading { file, hash: Sha256::new(), left: size, digest })
    }

    /// Reads a document to its end.
    pub async fn verify(&self, digest: Digest, size: u64) -> io::Result<()> {
        let mut reading = self.read(digest, size).await?;
        while reading.next().await?.is_some() {}
        Ok(())
    }

    /// Removes a document; one that is not there is gone already.
    pub async fn remove(&self, digest: Digest) -> io::Result<()> {
        match tokio::fs::remove_file(self.place(digest)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn place(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        let (folder, rest) = name.split_at(2);
        self.folder.join(folder).join(rest)
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The bytes are not those that were put there: damage, or other hands.
fn other_bytes() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the bytes are not those of the digest")
}

/// A file that is not in its place; removed when it is dropped.
#[derive(Debug)]
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // After a rename there is nothing; what cannot be removed now goes at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// A document on its way in.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    left: Leftover,
    hash: Sha256,
    size: u64,
}

impl Incoming {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).await
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All bytes are here: on the disk, but not yet in their place.
    pub async fn seal(mut self) -> io::Result<Sealed> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let digest = Digest(self.hash.finalize().into());
        Ok(Sealed { left: self.left, digest, size: self.size })
    }
}

/// A document that is whole and durable, but not in its place.
#[derive(Debug)]
pub struct Sealed {
    left: Leftover,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Sealed {
    /// Puts it in its place, over another of the same bytes.
    pub async fn put(self, store: &Store) -> io::Result<()> {
        let place = store.place(self.digest);
        let folder = Arc::clone(&store.folder);
        spawn_blocking(move || {
            let own = place.parent().unwrap_or(&folder);
            if !own.exists() {
                make_folder(own)?;
                fs::File::open(&folder)?.sync_all()?;
            }
            fs::rename(&self.left.0, &place)?;
            fs::File::open(own)?.sync_all()
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// A document on its way out.
#[derive(Debug)]
pub struct Reading {
    file: File,
    hash: Sha256,
    left: u64,
    digest: Digest,
}

impl Reading {
    /// The next piece; none at the end. The last one is given only if the digest is right.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = BytesMut::zeroed(most);
        self.file.read_exact(&mut piece).await?;
        self.hash.update(&piece);
        self.left -= most as u64;
        let is_right = || self.hash.clone().finalize()[..] == self.digest.0[..];
        if self.left == 0 && !is_right() {
            return Err(other_bytes());
        }
        Ok(Some(piece.freeze()))
    }

    /// All pieces.
    pub fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        try_unfold(self, async |mut reading| {
            Ok(reading.next().await?.map(|piece| (piece, reading)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(store: &Store, bytes: &[u8]) -> Digest {
        let mut incoming = store.begin().await.expect("begun");
        for piece in bytes.chunks(1000) {
            incoming.write(piece).await.expect("written");
        }
        let sealed = incoming.seal().await.expect("sealed");
        let digest = sealed.digest;
        sealed.put(store).await.expect("put");
        digest
    }

    fn half_written(store: &Store) -> usize {
        fs::read_dir(&store.incoming).expect("a folder").count()
    }

    #[tokio::test]
    async fn what_was_put_is_read_and_what_was_changed_is_not_handed_out_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), "a").expect("opened");
        let bytes = vec![7; 3 * PIECE + 5];
        let digest = kept(&store, &bytes).await;
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(kept(&store, &bytes).await, digest, "the same bytes again");
        let size = bytes.len() as u64;
        store.verify(digest, size).await.expect("as it was");
        let mut changed = bytes.clone();
        changed[PIECE + 1] = 8;
        fs::write(store.place(digest), &changed).expect("written");
        let mut reading = store.read(digest, size).await.expect("opened");
        let mut given = 0;
        let error = loop {
            match reading.next().await {
                Ok(piece) => given += piece.expect("not the end").len(),
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), given), (io::ErrorKind::InvalidData, 3 * PIECE));
        fs::write(store.place(digest), &bytes[1..]).expect("written");
        assert!(store.read(digest, size).await.is_err(), "too short");
        store.remove(digest).await.expect("removed");
        store.remove(digest).await.expect("gone already");
        let gone = store.read(digest, size).await.expect_err("gone");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_does_not_come_to_its_end_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), "a").expect("opened");
        let mut incoming = store.begin().await.expect("begun");
        incoming.write(b"half").await.expect("written");
        assert_eq!(half_written(&store), 1);
        drop(incoming);
        assert_eq!(half_written(&store), 0);
        fs::write(store.incoming.join("of-a-dead-process"), b"x").expect("written");
        let store = Store::open(folder.path(), "a").expect("opened");
        assert_eq!(half_written(&store), 0);
    }
}
