//! The forms of HCL1, and what types see of them.

mod decode;
mod forms;
mod json;
