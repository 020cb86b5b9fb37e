//! Of which form the file is, and how an older one is brought forward.
//!
//! The number stands in the table `meta`. A file without that table is of schema
//! 1: the log alone, as agents wrote it that knew no approvals. Every step to a
//! later schema is made with those before it in one commit, so that a crash
//! leaves the old file or the new one. Documents are never rewritten: their
//! digests are what was approved, and fields that came later have a meaning where
//! they are absent.
//!
//! The number is raised whenever an older agent must not serve from the file, in
//! particular with each new field of a document. It refuses the file then before
//! it reads a record.

use super::{RECORDS, failed};
use crate::registry::store::StoreError;
use redb::{
    Database, MultimapTableHandle as _, ReadableDatabase as _, TableDefinition, TableError,
    TableHandle as _, WriteTransaction,
};

/// What the file says of itself.
pub(super) const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");

const SCHEMA: &str = "schema";
const RESTORATION: &str = "restoration";

/// The schema that this agent reads and writes.
pub(super) const CURRENT: u32 = 3;

/// What leads to a schema from the one before it.
type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// The steps, by the schema that they lead to.
const STEPS: [(u32, Step); 2] = [
    // Approvals, decisions and the table itself: nothing of what is there changes.
    (2, |_| Ok(())),
    // Client metadata, authorization servers and other trust domains: nothing either.
    (3, |_| Ok(())),
];

/// Refuses what a newer agent has written.
pub(super) fn check(database: &Database) -> Result<(), StoreError> {
    let found = found(database)?;
    if found > CURRENT {
        return Err(StoreError::Newer(format!(
            "schema {found}, and this one knows no later than {CURRENT}"
        )));
    }
    let reading = database.begin_read().map_err(failed)?;
    let tables = reading.list_tables().map_err(failed)?;
    let multimaps = reading.list_multimap_tables().map_err(failed)?;
    let tables = tables.map(|table| table.name().to_owned());
    let multimaps = multimaps.map(|table| table.name().to_owned());
    let known = [RECORDS.name(), META.name()];
    match tables
        .chain(multimaps)
        .find(|name| !known.contains(&name.as_str()))
    {
        Some(name) => Err(StoreError::Newer(format!("a table {name:?}"))),
        None => Ok(()),
    }
}

/// Makes the steps from the file's schema to the current one.
pub(super) fn bring_forward(database: &Database) -> Result<(), StoreError> {
    let from = found(database)?;
    if from == CURRENT {
        return Ok(());
    }
    write(database, |writing| {
        for (to, step) in STEPS {
            if to > from {
                step(writing)?;
            }
        }
        let mut meta = writing.open_table(META).map_err(failed)?;
        let current = CURRENT.to_string();
        meta.insert(SCHEMA, &*current).map_err(failed)?;
        Ok(())
    })?;
    if from != 1 || super::last_revision(database)? > 0 {
        tracing::info!(
            from,
            to = CURRENT,
            "the registry's store is of a newer schema now"
        );
    }
    Ok(())
}

fn found(database: &Database) -> Result<u32, StoreError> {
    match meta(database, SCHEMA)? {
        None => Ok(1),
        Some(text) => text
            .parse()
            .map_err(|_no_number| StoreError::Newer(format!("schema {text:?}"))),
    }
}

/// What a restoration has left to be told.
pub(super) fn restoration(database: &Database) -> Result<Option<String>, StoreError> {
    meta(database, RESTORATION)
}

/// Leaves what a restoration has to tell.
pub(super) fn note_restoration(writing: &WriteTransaction, note: &str) -> Result<(), StoreError> {
    let mut meta = writing.open_table(META).map_err(failed)?;
    meta.insert(RESTORATION, note).map_err(failed)?;
    Ok(())
}

/// Takes it out again.
pub(super) fn forget_restoration(database: &Database) -> Result<(), StoreError> {
    write(database, |writing| {
        let mut meta = writing.open_table(META).map_err(failed)?;
        meta.remove(RESTORATION).map_err(failed)?;
        Ok(())
    })
}

fn meta(database: &Database, key: &str) -> Result<Option<String>, StoreError> {
    let reading = database.begin_read().map_err(failed)?;
    let table = match reading.open_table(META) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let value = table.get(key).map_err(failed)?;
    Ok(value.map(|value| value.value().to_owned()))
}

fn write(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut writing = database.begin_write().map_err(failed)?;
    writing.set_quick_repair(true);
    change(&writing)?;
    writing.commit().map_err(failed)
}
