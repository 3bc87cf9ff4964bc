//! A client of the server's API.
