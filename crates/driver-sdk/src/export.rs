//! The macros that give a library or module its exports.

/// Makes a dynamic library a driver: exports `spiderweb_driver_v1_invoke_json` (section 16).
///
/// `export_library!(f)` takes a function of JSON values, `export_library!(bytes: f)` one of bytes, which come
/// unchecked. The crate's type is `cdylib`; panics must unwind, which is the default.
///
/// ```
/// use spiderweb_driver_sdk::{DriverError, Value, export_library};
///
/// fn echo(payload: Value) -> Result<Value, DriverError> {
///     Ok(payload)
/// }
/// export_library!(echo);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_library {
    (bytes: $driver:expr) => {
        /// Answers one invoke: the C ABI of in-process drivers.
        ///
        /// # Safety
        ///
        /// Every pointer is valid for the length beside it until this returns.
        #[allow(
            unsafe_code,
            clippy::too_many_arguments,
            reason = "the ABI has this name and takes these pointers"
        )]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn spiderweb_driver_v1_invoke_json(
            payload: *const u8,
            payload_len: usize,
            out: *mut u8,
            out_cap: usize,
            out_len: *mut usize,
            err: *mut u8,
            err_cap: usize,
            err_len: *mut usize,
        ) -> ::core::ffi::c_int {
            let out = $crate::abi::HostBuffer {
                start: out,
                capacity: out_cap,
                length: out_len,
            };
            let err = $crate::abi::HostBuffer {
                start: err,
                capacity: err_cap,
                length: err_len,
            };
            // SAFETY: these are the host's promises, passed on.
            unsafe { $crate::abi::invoke_library(payload, payload_len, out, err, $driver) }
        }
    };
    ($driver:expr) => {
        $crate::export_library!(bytes: |payload: &[u8]| $crate::answer_json(payload, $driver));
    };
}

/// Makes a WASM module a driver: exports the host ABI, version 1 (section 17.2).
///
/// The crate's type is `cdylib` and its target `wasm32-unknown-unknown`: a host refuses modules that import anything
/// but its own functions, as WASI targets do. On other targets this only checks the function.
///
/// ```
/// use spiderweb_driver_sdk::{DriverError, Value, export_venom};
///
/// fn echo(payload: Value) -> Result<Value, DriverError> {
///     Ok(payload)
/// }
/// export_venom!(echo);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_venom {
    ($driver:expr) => {
        /// The version of the ABI.
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the ABI has this name")]
        #[unsafe(no_mangle)]
        pub extern "C" fn spider_venom_abi_version() -> i32 {
            1
        }

        /// Memory for a payload.
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the ABI has this name")]
        #[unsafe(no_mangle)]
        pub extern "C" fn spider_venom_alloc(len: usize) -> *mut u8 {
            $crate::abi::venom_alloc(len)
        }

        /// Answers one invoke.
        ///
        /// # Safety
        ///
        /// The payload is memory from `spider_venom_alloc`, handed in once.
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the ABI has this name and takes an address")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn spider_venom_invoke_json(payload: *mut u8, len: usize) -> u64 {
            $crate::abi::venom_log_panics();
            let driver = |payload: &[u8]| $crate::answer_json(payload, $driver);
            // SAFETY: this is the host's promise, passed on.
            match unsafe { $crate::abi::venom_invoke(payload, len, driver) } {
                Ok(output) => $crate::abi::venom_output(output),
                Err(error) => $crate::abi::venom_fail(&error),
            }
        }

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Value) -> Result<$crate::Value, $crate::DriverError> = $driver;
    };
}
