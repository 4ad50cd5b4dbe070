//! Finding containers by what people call them: name, id, or unambiguous start of an id.

use crate::containers::Containers;
use crate::error::{Error, Result};
use crate::folder;
use crate::record::Record;

impl Containers {
    /// Every container's id and record, or why that cannot be read; no record where its maker was killed before there was
    /// one.
    pub fn entries(&self) -> Result<Vec<(String, Result<Option<Record>>)>> {
        let names = folder::names(&self.folder)?;
        Ok(names.into_iter().map(|id| (id.clone(), Record::read(&self.folder(&id)))).collect())
    }

    /// The records that can be read. A container whose record is damaged, as an empty one after a power cut, has no
    /// name any more and can still be removed by its id.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for id in folder::names(&self.folder)? {
            match Record::read(&self.folder(&id)) {
                Ok(record) => records.extend(record),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// The record of container `id`; `None` if there is none.
    pub fn record(&self, id: &str) -> Result<Option<Record>> {
        Record::read(&self.folder(id))
    }

    /// The container that is called `name`.
    pub fn find(&self, name: &str) -> Result<Record> {
        let id = self.find_id(name)?;
        self.record(&id)?.ok_or_else(|| missing(name))
    }

    /// The id of the container that is called `name`, also where its record cannot be read.
    pub fn find_id(&self, name: &str) -> Result<String> {
        let mut ids = folder::names(&self.folder)?;
        if ids.iter().any(|id| id == name) {
            return Ok(name.to_owned());
        }
        if let Some(record) = self.records()?.into_iter().find(|record| record.shown_name() == name) {
            return Ok(record.id);
        }
        ids.retain(|id| !name.is_empty() && id.starts_with(name));
        match (ids.pop(), ids.pop()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::Ambiguous { what: "container", prefix: name.to_owned() }),
            (None, _) => Err(missing(name)),
        }
    }
}

fn missing(name: &str) -> Error {
    Error::Missing { what: "container", name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use crate::containers::tests::{containers, named, record};
    use crate::record::Record;

    #[test]
    fn a_short_id_must_mean_one_container() {
        let (_root, containers) = containers();
        let one = format!("ab{}", "0".repeat(62));
        let other = format!("ac{}", "0".repeat(62));
        for id in [&one, &other] {
            drop(containers.create(&Record { id: id.clone(), ..record("x") }).unwrap());
        }
        assert!(containers.find("a").unwrap_err().to_string().contains("several"));
        assert!(containers.find("").is_err());
        assert_eq!(containers.find("ac").unwrap().id, other);
        // A name wins over the start of an id.
        drop(containers.create(&named("d", "ac")).unwrap());
        assert_eq!(containers.find("ac").unwrap().id, "d".repeat(64));
    }
}
