//! Keys in the token: made, found, asserted to be unable to leave it, and used.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::types::Ulong;
use plastron_hsm::{KeyId, KeyRecord, KeyStoreError, KeyType, SignatureScheme};

use crate::connection::{Fault, Open};
use crate::held::{Signed, verify};
use crate::{encode, label};

/// Random bytes in CKA_ID.
const ID_LENGTH: usize = 16;

/// A key that passed every assertion in this session.
#[derive(Clone)]
pub(crate) struct LoadedKey {
    pub(crate) record: KeyRecord,
    /// The record's public key, for every signature that waits to be verified.
    spki: Arc<[u8]>,
    handle: ObjectHandle,
}

/// What a private key must say about itself (PKCS#11 2.40, section 4.9). What a token does not report is not asserted.
const REQUIRED: [(AttributeType, bool); 12] = [
    (AttributeType::Token, true),
    (AttributeType::Private, true),
    (AttributeType::Sensitive, true),
    (AttributeType::Extractable, false),
    (AttributeType::AlwaysSensitive, true),
    (AttributeType::NeverExtractable, true),
    (AttributeType::Local, true),
    (AttributeType::Sign, true),
    (AttributeType::Decrypt, false),
    (AttributeType::Unwrap, false),
    (AttributeType::Derive, false),
    (AttributeType::SignRecover, false),
];

impl Open<'_> {
    /// Makes a key pair and loads it as any other. `begun` holds its identifier over the attempts of one call: a token may have made the
    /// pair before it failed, and a second one that nobody knows of would stay in it.
    pub(crate) fn generate(
        &mut self,
        begun: &mut Option<KeyId>,
        label: &str,
        key_type: KeyType,
    ) -> Result<KeyRecord, Fault> {
        if let Some(id) = begun.clone() {
            if let Some(made) = self.load(&id)? {
                return Ok(made.record);
            }
            if let Some(half) = self.only(ObjectClass::PUBLIC_KEY, &id)? {
                self.session.destroy_object(half)?;
            }
        }
        let id = match begun {
            Some(id) => id.clone(),
            None => begun.insert(self.new_id()?).clone(),
        };
        let shown = label::of_key(&self.link.instance, label, SystemTime::now());
        let id_bytes = id.as_bytes().to_vec();
        let named = [Attribute::Token(true), Attribute::Id(id_bytes), Attribute::Label(shown.into_bytes())];
        let mut public = named.to_vec();
        public.extend([Attribute::Private(false), Attribute::Verify(true)]);
        let mut private = named.to_vec();
        private.extend([
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::SignRecover(false),
        ]);
        let mechanism = match (encode::curve(key_type), key_type) {
            (Some((oid, _)), _) => {
                let params = encode::ec_params(oid).map_err(|reason| self.link.unavailable(reason))?;
                public.push(Attribute::EcParams(params));
                Mechanism::EccKeyPairGen
            }
            (None, _) => {
                let bits = if key_type == KeyType::Rsa4096 { 4096 } else { 2048 };
                public.extend([Attribute::ModulusBits(Ulong::new(bits)), Attribute::PublicExponent(vec![1, 0, 1])]);
                Mechanism::RsaPkcsKeyPairGen
            }
        };
        let made = self.session.generate_key_pair(&mechanism, &public, &private);
        let (public, private) = made.map_err(|error| self.unsupported(error, key_type))?;
        match self.load(&id) {
            Ok(Some(key)) => Ok(key.record),
            Ok(None) => Err(self.link.unavailable("the token does not find the key that it just made").into()),
            Err(Fault::Store(error)) => {
                // Nobody knows this key yet: better gone than left behind as unusable.
                for object in [public, private] {
                    let _ = self.session.destroy_object(object);
                }
                Err(error.into())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Finds a key and asserts all that makes it ours to use: its attributes, that its public key is the one that the identifier
    /// meant before, and that the two belong together, by a signature.
    pub(crate) fn load(&mut self, id: &KeyId) -> Result<Option<LoadedKey>, Fault> {
        self.loaded.remove(id);
        if id.as_bytes().is_empty() {
            // Many tokens take an empty CKA_ID in a search for "any".
            return Ok(None);
        }
        let Some(handle) = self.only(ObjectClass::PRIVATE_KEY, id)? else {
            let known = self.link.known.read().unwrap_or_else(PoisonError::into_inner).contains_key(id);
            return if known { Err(Fault::Vanished(id.clone())) } else { Ok(None) };
        };
        self.assert_safe(id, handle)?;
        let (key_type, public_key) = self.public_key(id)?;
        let spki = public_key.as_slice().into();
        let record = KeyRecord { id: id.clone(), label: self.label(handle)?, key_type, public_key };
        let key = LoadedKey { record, spki, handle };
        self.assert_same_as_before(&key.record)?;
        self.assert_belongs_together(&key)?;
        self.link
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), key.record.public_key.clone());
        self.loaded.insert(id.clone(), key.clone());
        Ok(Some(key))
    }

    /// Signs a digest, loading the key when this session has not. Whether the key did sign is not known yet (`held`).
    pub(crate) fn sign(&mut self, id: &KeyId, scheme: SignatureScheme, digest: &[u8]) -> Result<Signed, Fault> {
        if !self.loaded.contains_key(id) {
            self.load(id)?;
        }
        let Some(key) = self.loaded.get(id) else {
            return Err(KeyStoreError::NoSuchKey { store: self.link.store.clone(), id: id.clone() }.into());
        };
        key.record.key_type.check(scheme, digest)?;
        let signature = self.raw_sign(key, scheme, digest)?;
        let (id, public_key, digest) = (id.clone(), key.spki.clone(), digest.to_vec());
        Ok(Signed { id, public_key, scheme, digest, signature })
    }

    fn new_id(&self) -> Result<KeyId, Fault> {
        let mut id = [0; ID_LENGTH];
        getrandom::fill(&mut id).map_err(|error| self.link.unavailable(format!("no randomness: {error}")))?;
        Ok(KeyId::new(id))
    }

    fn raw_sign(&self, key: &LoadedKey, scheme: SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Fault> {
        let input = encode::to_be_signed(scheme, digest);
        let key_type = key.record.key_type;
        if encode::curve(key_type).is_some() {
            let raw = self.session.sign(&Mechanism::Ecdsa, key.handle, &input)?;
            return encode::ecdsa_signature(key_type, &raw).map_err(|reason| self.link.unavailable(reason).into());
        }
        Ok(self.session.sign(&Mechanism::RsaPkcs, key.handle, &input)?)
    }

    /// The one object of this class with this CKA_ID. Two are none: which is meant can't be known.
    pub(crate) fn only(&self, class: ObjectClass, id: &KeyId) -> Result<Option<ObjectHandle>, Fault> {
        let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.as_bytes().to_vec())];
        let found = self.session.find_objects(&template)?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            many => {
                let reason = format!("{} objects of class {class} have the CKA_ID {id}", many.len());
                Err(KeyStoreError::Malformed { store: self.link.store.clone(), reason }.into())
            }
        }
    }

    fn assert_safe(&self, id: &KeyId, handle: ObjectHandle) -> Result<(), Fault> {
        let types = REQUIRED.map(|(attribute, _)| attribute);
        let attributes = self.session.get_attributes(handle, &types)?;
        for (attribute, expected) in REQUIRED {
            let got = attributes.iter().find_map(|each| boolean(each).filter(|(kind, _)| *kind == attribute));
            let reason = match got {
                Some((_, value)) if value == expected => continue,
                Some((_, value)) => format!("{attribute} is {value}"),
                None => format!("the token does not report {attribute}"),
            };
            return Err(KeyStoreError::UnsafeKey { store: self.link.store.clone(), id: id.clone(), reason }.into());
        }
        Ok(())
    }

    pub(crate) fn public_key(&self, id: &KeyId) -> Result<(KeyType, Vec<u8>), Fault> {
        let malformed = |reason: String| {
            let reason = format!("public key {id}: {reason}");
            Fault::Store(KeyStoreError::Malformed { store: self.link.store.clone(), reason })
        };
        let handle = self.only(ObjectClass::PUBLIC_KEY, id)?;
        let handle = handle.ok_or_else(|| malformed("the token has none with this CKA_ID".to_owned()))?;
        let kind = self.session.get_attributes(handle, &[AttributeType::KeyType])?;
        match kind.as_slice() {
            [Attribute::KeyType(CkKeyType::EC)] => {
                let types = [AttributeType::EcParams, AttributeType::EcPoint];
                let attributes = self.session.get_attributes(handle, &types)?;
                let [Attribute::EcParams(params), Attribute::EcPoint(point)] = attributes.as_slice() else {
                    return Err(malformed("CKA_EC_PARAMS or CKA_EC_POINT is missing".to_owned()));
                };
                let key_type = encode::ec_key_type(params);
                let key_type = key_type.ok_or_else(|| malformed("its curve is neither P-256 nor P-384".to_owned()))?;
                Ok((key_type, encode::ec_public_key(key_type, point).map_err(malformed)?))
            }
            [Attribute::KeyType(CkKeyType::RSA)] => {
                let types = [AttributeType::Modulus, AttributeType::PublicExponent];
                let attributes = self.session.get_attributes(handle, &types)?;
                let [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] = attributes.as_slice() else {
                    return Err(malformed("CKA_MODULUS or CKA_PUBLIC_EXPONENT is missing".to_owned()));
                };
                encode::rsa_public_key(modulus, exponent).map_err(malformed)
            }
            _ => Err(malformed("it is neither an EC nor an RSA key".to_owned())),
        }
    }

    fn assert_same_as_before(&self, record: &KeyRecord) -> Result<(), Fault> {
        let known = self.link.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.get(&record.id) {
            Some(before) if *before != record.public_key => {
                Err(KeyStoreError::KeyChanged { store: self.link.store.clone(), id: record.id.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// The private key's signature over a random digest verifies under the public key.
    fn assert_belongs_together(&self, key: &LoadedKey) -> Result<(), Fault> {
        let scheme = key.record.key_type.default_scheme();
        let mut digest = vec![0; scheme.digest_len()];
        getrandom::fill(&mut digest).map_err(|error| self.link.unavailable(format!("no randomness: {error}")))?;
        let signature = self.raw_sign(key, scheme, &digest)?;
        verify(&key.record.public_key, scheme, &digest, &signature).map_err(|reason| {
            let (store, id) = (self.link.store.clone(), key.record.id.clone());
            Fault::Store(KeyStoreError::UnsafeKey { store, id, reason })
        })
    }

    fn unsupported(&self, error: cryptoki::error::Error, key_type: KeyType) -> Fault {
        use cryptoki::error::{Error, RvError};
        match error {
            Error::Pkcs11(
                RvError::MechanismInvalid
                | RvError::CurveNotSupported
                | RvError::DomainParamsInvalid
                | RvError::KeySizeRange,
                _,
            ) => KeyStoreError::UnsupportedKeyType { store: self.link.store.clone(), key_type }.into(),
            other => other.into(),
        }
    }

    pub(crate) fn label(&self, handle: ObjectHandle) -> Result<String, Fault> {
        Ok(label::of_caller(&self.link.instance, &self.raw_label(handle)?).to_owned())
    }

    pub(crate) fn raw_label(&self, handle: ObjectHandle) -> Result<String, Fault> {
        let attributes = self.session.get_attributes(handle, &[AttributeType::Label])?;
        Ok(match attributes.as_slice() {
            [Attribute::Label(label)] => String::from_utf8_lossy(label).into_owned(),
            _ => String::new(),
        })
    }
}

fn boolean(attribute: &Attribute) -> Option<(AttributeType, bool)> {
    let value = match attribute {
        Attribute::Token(value)
        | Attribute::Private(value)
        | Attribute::Sensitive(value)
        | Attribute::Extractable(value)
        | Attribute::AlwaysSensitive(value)
        | Attribute::NeverExtractable(value)
        | Attribute::Local(value)
        | Attribute::Sign(value)
        | Attribute::Decrypt(value)
        | Attribute::Unwrap(value)
        | Attribute::Derive(value)
        | Attribute::SignRecover(value) => *value,
        _ => return None,
    };
    Some((attribute.attribute_type(), value))
}
