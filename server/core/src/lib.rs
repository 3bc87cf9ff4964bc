//! Registration, admission, the CA, authorisation, audit.
