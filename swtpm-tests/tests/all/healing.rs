//! Machines that were off for long, clocks that are set, files that are lost: the real programs come back by themselves, and say what
//! they did. The wall clock of server and agent is the test's; the TPM and the token are real.

mod bed;
mod clocks;
mod lost;
mod off_for_long;
