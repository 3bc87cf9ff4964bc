//! Keys that are kept as wrapped blobs: made under a parent, loaded for one use, and flushed (TPM2_Create, TPM2_Load).

use plastron_attestation::{EkTemplate, TpmDeviceError};
use plastron_attestation_tcg::{Name, TpmtPublic};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};

use crate::link::{Link, SendError};
use crate::response::{describe, refuses_parameter};
use crate::session::{authorising, malformed};

/// A loaded key that may have children.
#[derive(Clone, Copy)]
pub(crate) enum Parent {
    /// An EK, authorised as its template says.
    Ek { template: EkTemplate, handle: KeyHandle },
    /// A storage key with an empty authorisation value.
    Storage { handle: KeyHandle },
}

/// A child as a file can keep it: TPM2B_PRIVATE with its size, TPMT_PUBLIC.
pub(crate) struct Wrapped {
    pub(crate) private: Vec<u8>,
    pub(crate) public: Vec<u8>,
}

impl Parent {
    fn handle(self) -> KeyHandle {
        match self {
            Self::Ek { handle, .. } | Self::Storage { handle } => handle,
        }
    }

    fn authorising<T>(
        self,
        link: &mut Link,
        body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        match self {
            Self::Ek { template, handle } => authorising(link, template, handle, body),
            Self::Storage { .. } => body(link, AuthSession::Password),
        }
    }

    /// Makes a child by this template.
    pub(crate) fn create(
        self,
        link: &mut Link,
        template: tss_esapi::Result<Public>,
    ) -> Result<Wrapped, TpmDeviceError> {
        let template = template.map_err(|error| malformed("Create", error.to_string()))?;
        let parent = self.handle();
        let made = self.authorising(link, |link, session| {
            link.command("Create", |context| {
                context.execute_with_session(Some(session), |context| {
                    context.create(parent, template.clone(), None, None, None, None)
                })
            })
        })?;
        let public = made.out_public.marshall().map_err(|error| malformed("Create", error.to_string()))?;
        TpmtPublic::parse(&public).map_err(|error| malformed("Create", error.to_string()))?;
        let private = made.out_private.to_vec();
        let length = u16::try_from(private.len());
        let length = length.map_err(|_| malformed("Create", "a private area that is too long"))?;
        Ok(Wrapped { private: [&length.to_be_bytes(), private.as_slice()].concat(), public })
    }

    /// Loads a child, runs `body` with it, and flushes it. `not_loadable` says which key the TPM did not take.
    pub(crate) fn with_child<T>(
        self,
        link: &mut Link,
        (private, public): (&[u8], &[u8]),
        not_loadable: fn(String) -> TpmDeviceError,
        body: impl FnOnce(&mut Link, KeyHandle) -> Result<T, TpmDeviceError>,
    ) -> Result<T, TpmDeviceError> {
        let (private, public, name) = parse(private, public).map_err(not_loadable)?;
        let parent = self.handle();
        // The session ends before the body begins: it would take a slot, and the body may need two of its own.
        let child = self.authorising(link, |link, session| {
            let loaded = link.send(|context| {
                context.execute_with_session(Some(session), |context| {
                    context.load(parent, private.clone(), public.clone())
                })
            });
            loaded.map_err(|error| match error {
                SendError::Answer(answer) if refuses_parameter(&answer) => not_loadable(describe(&answer)),
                other => other.of("Load"),
            })
        })?;
        link.using(child, name.as_bytes(), |link| body(link, child))
    }
}

/// The two parts of a blob; a fault is one of the file that it comes from.
fn parse(private: &[u8], public: &[u8]) -> Result<(Private, Public, Name), String> {
    let sized = private.split_first_chunk::<2>();
    let sized = sized.filter(|(length, rest)| usize::from(u16::from_be_bytes(**length)) == rest.len());
    let (_, private) = sized.ok_or("the stored TPM2B_PRIVATE has another length")?;
    let private = Private::try_from(private.to_vec()).map_err(|error| error.to_string())?;
    let name = TpmtPublic::parse(public).map_err(|error| error.to_string())?.name();
    let public = Public::unmarshall(public).map_err(|error| error.to_string())?;
    Ok((private, public, name))
}
