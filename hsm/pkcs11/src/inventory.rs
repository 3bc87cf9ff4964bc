//! What this instance has in the token: listed, dated, destroyed.

use std::collections::HashSet;
use std::sync::PoisonError;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use plastron_hsm::{KeyId, KeyRecord, KeyStoreError};

use crate::connection::{Fault, Open};
use crate::label;

/// How many objects a listing reads. A token that holds more is not one of ours alone.
const MAX_OBJECTS: usize = 4096;

impl Open<'_> {
    /// The keys whose label has this instance's prefix. A public key without its private key is listed too: that is what a token whose
    /// program was killed in the midst of making or destroying a pair is left with, and nobody else would find it. A private key that
    /// can't be used is passed over with a warning, because it has no record.
    pub(crate) fn list(&mut self) -> Result<Vec<KeyRecord>, Fault> {
        let mut keys = Vec::new();
        let mut seen = HashSet::new();
        for (_, id) in self.ours(ObjectClass::PRIVATE_KEY)? {
            if !seen.insert(id.clone()) {
                continue;
            }
            match self.load(&id) {
                Ok(Some(key)) => keys.push(key.record),
                Ok(None) => {}
                Err(Fault::Store(error)) => {
                    tracing::warn!(key = %id, %error, "a key in the token can't be used, and is not listed");
                }
                Err(fault) => return Err(fault),
            }
        }
        for (handle, id) in self.ours(ObjectClass::PUBLIC_KEY)? {
            if seen.insert(id.clone()) {
                let (key_type, public_key) = self.public_key(&id)?;
                keys.push(KeyRecord { label: self.label(handle)?, id, key_type, public_key });
            }
        }
        Ok(keys)
    }

    fn ours(&self, class: ObjectClass) -> Result<Vec<(ObjectHandle, KeyId)>, Fault> {
        let handles = self.session.find_objects(&[Attribute::Class(class), Attribute::Token(true)])?;
        if handles.len() > MAX_OBJECTS {
            let reason = format!("the token holds {} objects of class {class}, more than {MAX_OBJECTS}", handles.len());
            return Err(self.link.unavailable(reason).into());
        }
        let mut ours = Vec::new();
        for handle in handles {
            let attributes = self.session.get_attributes(handle, &[AttributeType::Label, AttributeType::Id])?;
            let is_ours = attributes.iter().any(|attribute| match attribute {
                Attribute::Label(label) => label::is_of(&self.link.instance, &String::from_utf8_lossy(label)),
                _ => false,
            });
            let id = attributes.iter().find_map(|attribute| match attribute {
                Attribute::Id(id) if !id.is_empty() => Some(KeyId::new(id.clone())),
                _ => None,
            });
            if let (true, Some(id)) = (is_ours, id) {
                ours.push((handle, id));
            }
        }
        Ok(ours)
    }

    /// Destroys a pair of this instance, or what is left of one, the private key first: what a crash leaves is a public key without use.
    /// `begun` is true where an earlier attempt of the same call may have destroyed the pair already.
    pub(crate) fn destroy(&mut self, begun: &mut bool, id: &KeyId) -> Result<(), Fault> {
        let mut found = Vec::new();
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let one = if id.as_bytes().is_empty() { None } else { self.only(class, id)? };
            if let Some(handle) = one
                && label::is_of(&self.link.instance, &self.raw_label(handle)?)
            {
                found.push(handle);
            }
        }
        if found.is_empty() && !*begun {
            return Err(KeyStoreError::NoSuchKey { store: self.link.store.clone(), id: id.clone() }.into());
        }
        *begun = true;
        for object in found {
            self.session.destroy_object(object)?;
        }
        self.loaded.remove(id);
        self.link.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    /// When a key was made, Unix seconds, as its label says.
    pub(crate) fn made_at(&mut self, id: &KeyId) -> Result<Option<u64>, Fault> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let found = if id.as_bytes().is_empty() { None } else { self.only(class, id)? };
            if let Some(handle) = found {
                return Ok(label::made_at(&self.raw_label(handle)?));
            }
        }
        Err(KeyStoreError::NoSuchKey { store: self.link.store.clone(), id: id.clone() }.into())
    }
}
