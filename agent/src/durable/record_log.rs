//! A file of records, a line of JSON each, that only grows until it is written anew: what was appended survives the process.
//!
//! A record that was cut off by a crash or a full disk is left out when the file is read, and never runs into the next one.

use super::{FileError, Keep, write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A log in a file.
#[derive(Debug)]
pub struct RecordLog {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    /// The file may end in half a record.
    torn: bool,
}

impl RecordLog {
    /// The log in `path`, and the records that can be read.
    ///
    /// # Errors
    /// When the file cannot be made or read.
    pub fn open<T: DeserializeOwned>(path: PathBuf) -> Result<(Self, Vec<T>), FileError> {
        let content = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => vec![],
            content => content.map_err(FileError::at(&path))?,
        };
        let mut records = vec![];
        for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a damaged record is left out"),
            }
        }
        let file = append_to(&path)?;
        let torn = content.last().is_some_and(|byte| *byte != b'\n');
        Ok((Self { path, file, size_bytes: content.len() as u64, torn }, records))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What the file system refused; then the record is not there.
    pub fn append(&mut self, record: &impl Serialize, keep: Keep) -> Result<(), FileError> {
        let mut line = if self.torn { vec![b'\n'] } else { vec![] };
        push(&mut line, record, &self.path)?;
        if let Err(error) = self.file.write_all(&line) {
            self.torn = self.file.set_len(self.size_bytes).is_err();
            return Err(FileError::at(&self.path)(error));
        }
        self.torn = false;
        self.size_bytes += line.len() as u64;
        if keep == Keep::ThroughPowerLoss {
            self.file.sync_data().map_err(FileError::at(&self.path))?;
        }
        Ok(())
    }

    /// Writes the file anew with these records alone. A crash leaves the old content or the new one.
    ///
    /// # Errors
    /// What the file system refused; then the old content stands.
    pub fn replace<T: Serialize>(&mut self, records: impl IntoIterator<Item = T>) -> Result<(), FileError> {
        let mut content = vec![];
        for record in records {
            push(&mut content, &record, &self.path)?;
        }
        write(&self.path, &content, Keep::ThroughPowerLoss)?;
        self.file = append_to(&self.path)?;
        (self.size_bytes, self.torn) = (content.len() as u64, false);
        Ok(())
    }

    /// Removes all records.
    ///
    /// # Errors
    /// What the file system refused; then they stand.
    pub fn clear(&mut self) -> Result<(), FileError> {
        self.file.set_len(0).map_err(FileError::at(&self.path))?;
        (self.size_bytes, self.torn) = (0, false);
        Ok(())
    }

    /// The file's size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

fn append_to(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(FileError::at(path))
}

fn push(content: &mut Vec<u8>, record: &impl Serialize, path: &Path) -> Result<(), FileError> {
    serde_json::to_writer(&mut *content, record).map_err(|error| FileError::at(path)(error.into()))?;
    content.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<u32> {
        RecordLog::open(path.into()).unwrap().1
    }

    #[test]
    fn records_are_read_back_and_a_cut_off_one_spoils_no_other() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let (mut log, none) = RecordLog::open::<u32>(path.clone()).unwrap();
        assert!(none.is_empty());
        log.append(&1, Keep::ThroughCrash).unwrap();
        log.append(&2, Keep::ThroughPowerLoss).unwrap();
        assert_eq!(read(&path), [1, 2]);
        fs::write(&path, "1\n\"ha").unwrap();
        let (mut log, records) = RecordLog::open::<u32>(path.clone()).unwrap();
        assert_eq!(records, [1]);
        log.append(&3, Keep::ThroughCrash).unwrap();
        assert_eq!(read(&path), [1, 3]);
        log.replace([7, 8]).unwrap();
        log.append(&9, Keep::ThroughCrash).unwrap();
        assert_eq!((read(&path), log.size_bytes()), (vec![7, 8, 9], 6));
        log.clear().unwrap();
        log.append(&4, Keep::ThroughCrash).unwrap();
        assert_eq!(read(&path), [4]);
    }

    #[test]
    fn what_a_full_disk_refused_is_not_there_and_the_next_record_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let (mut log, _) = RecordLog::open::<u32>(path.clone()).unwrap();
        log.append(&1, Keep::ThroughCrash).unwrap();
        // Neither writes nor cuts succeed through this.
        log.file = File::open(&path).unwrap();
        assert!(log.append(&2, Keep::ThroughCrash).is_err());
        assert!(log.torn);
        log.file = append_to(&path).unwrap();
        log.file.write_all(b"\"half").unwrap();
        log.append(&3, Keep::ThroughCrash).unwrap();
        assert_eq!(read(&path), [1, 3]);
    }
}
