//! The server's command line.
