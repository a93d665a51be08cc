//! What must outlive the router about addresses, in an embedded store: batches of changes, each whole or not at all, and
//! on disk when [`AddressStore::apply`] returns ([ADR 20](../../docs/adr/0020-addresses-on-disk.md)).

use anyhow::{Context, Result, bail};
use mesh::ipam::{Batch, Stored};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The one table: the core's own keys and values.
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("addresses");
/// Bytes of the file that are kept in memory; everything is read once, at the start.
const CACHE: usize = 1 << 20;

/// Bytes of a network's number, with which all its keys begin.
const NETWORK: usize = 4;

/// The open store.
pub(crate) struct AddressStore {
    database: Database,
    path: PathBuf,
    /// A batch could not be stored: later ones would not fit to what is there.
    is_broken: bool,
}

impl AddressStore {
    /// Opens the store in a file that only its owner can read, making it if need be, and reads all of it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Stored)> {
        let what = || {
            format!(
                "{} can't be read: restore it; or remove it, if no container that this router gave an address is left",
                path.display()
            )
        };
        // Made here for its mode; the store finds an empty file.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        // What is stored is found again only if the file's name is on disk, too.
        if let Some(directory) = path.parent().filter(|at| !at.as_os_str().is_empty()) {
            File::open(directory)
                .and_then(|at| at.sync_all())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create(path)
            .with_context(what)?;
        let mut store = Self {
            database,
            path: path.to_owned(),
            is_broken: false,
        };
        // So that there is a table to read.
        store.apply(&[]).with_context(what)?;
        let stored = store.read().with_context(what)?;
        Ok((store, stored))
    }

    fn read(&self) -> Result<Stored> {
        let mut stored = Stored::new();
        let reading = self.database.begin_read()?;
        for entry in reading.open_table(TABLE)?.iter()? {
            let (key, value) = entry?;
            stored.insert(key.value().to_vec(), value.value().to_vec());
        }
        Ok(stored)
    }

    /// Stores batches, all in one transaction, and syncs. After the first failure nothing is stored any more.
    pub(crate) fn apply(&mut self, batches: &[Batch]) -> Result<()> {
        let path = self.path.display();
        if self.is_broken {
            bail!("nothing is stored in {path} any more since that failed once: start the router again");
        }
        self.is_broken = true;
        self.write(batches)
            .with_context(|| format!("cannot write {path}"))?;
        self.is_broken = false;
        Ok(())
    }

    fn write(&self, batches: &[Batch]) -> Result<()> {
        // A transaction is synced when it is committed, unless told otherwise.
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(TABLE)?;
            for (key, value) in batches.iter().flat_map(|batch| &batch.changes) {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                    None if key.len() == NETWORK => table.retain(|other, _| !other.starts_with(key))?,
                    None => drop(table.remove(key.as_slice())?),
                }
            }
        }
        writing.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn batch(number: u64, changes: &[(&[u8], Option<&[u8]>)]) -> Batch {
        let owned = |(key, value): &(&[u8], Option<&[u8]>)| (key.to_vec(), value.map(<[u8]>::to_vec));
        Batch {
            number,
            changes: changes.iter().map(owned).collect(),
        }
    }

    #[test]
    fn what_was_stored_is_read_and_only_by_its_owner() {
        let path = std::env::temp_dir().join(format!("weft-addresses-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (mut store, stored) = AddressStore::open(&path).unwrap();
        assert!(stored.is_empty());
        let put = batch(1, &[(b"a", Some(b"1")), (b"b", Some(b"2"))]);
        store
            .apply(&[put, batch(2, &[(b"a", None), (b"c", Some(b""))])])
            .unwrap();
        // As after a crash: nothing is said to the store before it is read again.
        drop(store);
        let (_store, stored) = AddressStore::open(&path).unwrap();
        let expected = [(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), Vec::new())];
        assert_eq!(stored.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"something else").unwrap();
        let error = AddressStore::open(&path).err().unwrap();
        assert!(error.to_string().contains("restore it"), "{error:#}");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            b"something else",
            "damage is never overwritten"
        );
        std::fs::remove_file(&path).unwrap();
    }
}
