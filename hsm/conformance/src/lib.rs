//! What every KeyStore must pass.
