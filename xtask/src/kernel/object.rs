//! The engine as one object file that every kernel's module takes in.
//!
//! *Design*: Debian's kernels are built without support for Rust, so the engine is compiled for no
//! system at all, with the flags that the kernel demands of its code, and linked into one object
//! with C functions for entries. `core` and `alloc` are built along, since their shipped form was
//! compiled with other flags. That takes the only compiler in Debian that comes with their sources.

//!
//! The object depends on the sources and the compiler alone, not on where it is built: the package
//! that ships it says its checksum, and whoever doubts it builds it again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{at, calls, directory, run};
use crate::paths;

/// No red zone, nothing that a loader of modules does not know. Frame pointers, which the kernels do
/// without, since each register that is saved before one is set up is a line in the tables of whoever
/// walks the stack: an eighth of the module. Functions are copied into their callers up to half the
/// length that is usual (225): the copies, and the tables about the calls in them, were a fortieth of
/// it, for which there was no room.
const FLAGS: [&str; 9] = [
    "-Cforce-frame-pointers=yes",
    "-Crelocation-model=static",
    "-Cno-redzone=yes",
    "-Cforce-unwind-tables=no",
    "-Cjump-tables=no",
    "-Csymbol-mangling-version=v0",
    "-Zplt=yes",
    "-Zmin-function-alignment=16",
    "-Cllvm-args=-inline-threshold=120",
];

/// Kernel addresses, and the guards against speculation that Debian's kernels have.
const GUARDS: [&str; 7] = [
    "-Ccode-model=kernel",
    "-Zretpoline-external-thunk",
    "-Zindirect-branch-cs-prefix",
    "-Zfunction-return=thunk-extern",
    "-Zcf-protection=branch",
    "-Zpatchable-function-entry=16,16",
    "-Ctarget-feature=+harden-sls-ijmp,+harden-sls-ret",
];

/// A kernel that is a program lies where programs do, and its modules anywhere.
const ANYWHERE: [&str; 1] = ["-Ccode-model=large"];

/// Has each access to memory ask the kernel's map of what may be accessed (KASAN): by a call, and not
/// for stacks, whose frames a panic leaves without a word.
const CHECKS: [&str; 5] = [
    "-Zsanitizer=kernel-address",
    "-Cllvm-args=-asan-mapping-offset=0xdffffc0000000000",
    "-Cllvm-args=-asan-instrumentation-with-call-threshold=0",
    "-Cllvm-args=-asan-stack=0",
    "-Cllvm-args=-asan-globals=0",
];

/// Which engine is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// The one that people run.
    Shipped,
    /// One whose accesses to memory a kernel with KASAN checks.
    Checked,
    /// One for User-Mode Linux.
    UserMode,
}

impl Engine {
    /// What the compiler is told.
    fn flags(self) -> Vec<&'static str> {
        let own: &[&[&str]] = match self {
            Self::Shipped => &[&GUARDS],
            Self::Checked => &[&GUARDS, &CHECKS],
            Self::UserMode => &[&ANYWHERE],
        };
        [&FLAGS, own.concat().as_slice()].concat()
    }
}

/// Stands in front of the compiler. Cargo tells it to mix the directory of a crate into the names of
/// functions, by which the compiler orders some of them; our crates get a constant.
const WRAPPER: &str = r#"#!/bin/sh
case "$*" in
*--crate-name\ homa_*) ;;
*) exec "$@" ;;
esac
for word in "$@"; do
    shift
    case "$word" in
    metadata=*) word=metadata=homa ;;
    esac
    set -- "$@" "$word"
done
exec "$@"
"#;

const TARGET: &str = "x86_64-unknown-none";

/// What `compiler_builtins` brings and the kernel has.
const KERNELS_OWN: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];

/// What the object may ask of others: the shim and the kernel.
const ASKED_OF_OTHERS: [&str; 4] = ["homa_shim_", "__x86_", "mem", "__asan_"];

/// One section of each kind, and nothing that only user space needs.
const LINKER_SCRIPT: &str = "SECTIONS {
  .text 0 : { *(.text .text.*) }
  .rodata 0 : { *(.rodata .rodata.* .data.rel.ro .data.rel.ro.*) }
  .data 0 : { *(.data .data.*) }
  .bss 0 : { *(.bss .bss.*) *(COMMON) }
  /DISCARD/ : { *(.llvmbc) *(.llvmcmd) *(.eh_frame) *(__patchable_function_entries)
                *(.comment) *(.note.gnu.property) }
}
";

/// Compiles and links it.
pub(super) fn build(engine: Engine) -> Result<PathBuf, String> {
    let place = match engine {
        Engine::Shipped => directory(),
        Engine::Checked => directory().join("debug"),
        Engine::UserMode => directory().join("uml"),
    };
    build_from(Path::new(paths::ROOT), &place, engine)
}

/// The same from the sources in `root`, in the directory `place`.
pub(super) fn build_from(root: &Path, place: &Path, engine: Engine) -> Result<PathBuf, String> {
    let archive = compile(root, place, engine)?;
    let parts = unpack(&archive, place)?;
    let object = link(&parts, place)?;
    check(&object)?;
    Ok(object)
}

/// A command with the system's own tools alone: rustup's proxies would answer for Debian's cargo.
fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

fn compile(root: &Path, place: &Path, engine: Engine) -> Result<PathBuf, String> {
    let sysroot = run(system("/usr/bin/rustc").args(["--print", "sysroot"]))?;
    let vendor = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/vendor");
    let vendor = fs::canonicalize(&vendor).map_err(at(&vendor))?;
    let root = fs::canonicalize(root).map_err(at(root))?;
    let home = place.join("cargo");
    fs::create_dir_all(&home).map_err(at(&home))?;
    // The library's own dependencies lie beside it; nothing is fetched.
    let config = format!(
        "[source.crates-io]\nreplace-with = \"rust-src\"\n[source.rust-src]\ndirectory = {vendor:?}\n"
    );
    let file = home.join("config.toml");
    fs::write(&file, config).map_err(at(&file))?;
    let wrapper = home.join("rustc-anywhere");
    fs::write(&wrapper, WRAPPER).map_err(at(&wrapper))?;
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).map_err(at(&wrapper))?;
    // Panics tell their place in the sources.
    let anywhere = format!("--remap-path-prefix={}=homa", root.display());
    let mut flags = engine.flags();
    flags.push(&anywhere);
    let target = place.join("rust");
    let mut cargo = system("/usr/bin/cargo");
    cargo
        .args(["build", "--release", "--offline", "--target", TARGET])
        .args(["-Zbuild-std=core,alloc", "--target-dir"])
        .arg(&target)
        .env("CARGO_HOME", &home)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("RUSTC_WRAPPER", &wrapper)
        .current_dir(root.join("kernel/core"));
    run(&mut cargo)?;
    Ok(target.join(TARGET).join("release/libhoma_kernel_core.a"))
}

/// The members of the archive, those of `compiler_builtins` under names of their own.
fn unpack(archive: &Path, place: &Path) -> Result<Vec<PathBuf>, String> {
    let parts = place.join("parts");
    if parts.exists() {
        fs::remove_dir_all(&parts).map_err(at(&parts))?;
    }
    fs::create_dir_all(&parts).map_err(at(&parts))?;
    run(system("ar").arg("x").arg(archive).current_dir(&parts))?;
    let mut objects = Vec::new();
    for entry in fs::read_dir(&parts).map_err(at(&parts))?.flatten() {
        let path = entry.path();
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("compiler_builtins")
        {
            let mut objcopy = system("objcopy");
            for name in KERNELS_OWN {
                objcopy.arg(format!("--redefine-sym={name}=__builtins_{name}"));
            }
            run(objcopy.arg(&path))?;
        }
        objects.push(path);
    }
    objects.sort();
    Ok(objects)
}

fn link(parts: &[PathBuf], place: &Path) -> Result<PathBuf, String> {
    let script = place.join("engine.lds");
    fs::write(&script, LINKER_SCRIPT).map_err(at(&script))?;
    let object = place.join("homa_engine_core.o");
    // Not by nm, which takes these objects for something else and sees no symbols.
    let symbols = run(system("readelf").arg("-sW").args(parts))?;
    let mut ld = system("ld");
    ld.args(["-r", "--gc-sections", "-T"]).arg(&script);
    for entry in symbols.lines().filter_map(entry_point) {
        ld.args(["-u", entry]);
    }
    run(ld.arg("-o").arg(&object).args(parts))?;
    run(system("objcopy")
        .args(["-g", "-w", "--keep-global-symbol=homa_core_*"])
        .arg(&object))?;
    calls::fill_in(&object)?;
    Ok(object)
}

/// The name in a line of readelf's, if it is that of a function for the shim.
fn entry_point(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip(4);
    let (binding, _visibility, section, name) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_entry = binding == "GLOBAL" && section != "UND" && name.starts_with("homa_core_");
    is_entry.then_some(name)
}

/// What the kernel's loader, or a kernel without floating point, would not bear.
fn check(object: &Path) -> Result<(), String> {
    if run(system("readelf").arg("-rW").arg(object))?.contains("GOTPCREL") {
        return Err("the engine's object has relocations by a GOT, which modules lack".to_owned());
    }
    let code = run(system("objdump").arg("-d").arg(object))?;
    if ["%xmm", "%ymm", "%zmm"]
        .iter()
        .any(|name| code.contains(name))
    {
        return Err(
            "the engine's object uses vector registers, which are the programs'".to_owned(),
        );
    }
    let wanted = run(system("nm").arg("-u").arg(object))?;
    let strange = wanted
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .find(|name| {
            *name != "strlen" && !ASKED_OF_OTHERS.iter().any(|known| name.starts_with(known))
        });
    match strange {
        Some(name) => Err(format!(
            "the engine's object wants {name}, which nobody has"
        )),
        None => Ok(()),
    }
}
