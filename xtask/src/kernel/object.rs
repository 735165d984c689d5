//! The engine as one object file that every kernel's module takes in.
//!
//! *Design*: Debian's kernels are built without support for Rust, so the engine is compiled for no
//! system at all, with the flags that the kernel demands of its code, and linked into one object
//! with C functions for entries. `core` and `alloc` are built along, since their shipped form was
//! compiled with other flags. That takes the only compiler in Debian that comes with their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{at, directory, run, source};

/// Kernel addresses, no red zone, no vector registers, and the guards against speculation that
/// Debian's kernels have.
const FLAGS: &str = "-Crelocation-model=static -Ccode-model=kernel -Cno-redzone=yes \
    -Cforce-unwind-tables=no -Cjump-tables=no -Csymbol-mangling-version=v0 -Zplt=yes \
    -Zretpoline-external-thunk -Zindirect-branch-cs-prefix -Zfunction-return=thunk-extern \
    -Zcf-protection=branch -Zpatchable-function-entry=16,16 -Zmin-function-alignment=16 \
    -Ctarget-feature=+harden-sls-ijmp,+harden-sls-ret";

const TARGET: &str = "x86_64-unknown-none";

/// What `compiler_builtins` brings and the kernel has.
const KERNELS_OWN: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];

/// What the object may ask of others: the shim and the kernel.
const ASKED_OF_OTHERS: [&str; 3] = ["homa_shim_", "__x86_", "mem"];

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
pub(super) fn build() -> Result<PathBuf, String> {
    let archive = compile()?;
    let parts = unpack(&archive)?;
    let object = link(&parts)?;
    check(&object)?;
    Ok(object)
}

/// A command with the system's own tools alone: rustup's proxies would answer for Debian's cargo.
fn system(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_HOME", directory().join("cargo"));
    command
}

fn compile() -> Result<PathBuf, String> {
    let sysroot = run(system("/usr/bin/rustc").args(["--print", "sysroot"]))?;
    let vendor = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/vendor");
    let vendor = fs::canonicalize(&vendor).map_err(at(&vendor))?;
    let home = directory().join("cargo");
    fs::create_dir_all(&home).map_err(at(&home))?;
    // The library's own dependencies lie beside it; nothing is fetched.
    let config = format!(
        "[source.crates-io]\nreplace-with = \"rust-src\"\n[source.rust-src]\ndirectory = {vendor:?}\n"
    );
    let file = home.join("config.toml");
    fs::write(&file, config).map_err(at(&file))?;
    let target = directory().join("rust");
    let mut cargo = system("/usr/bin/cargo");
    cargo
        .args(["build", "--release", "--offline", "--target", TARGET])
        .args(["-Zbuild-std=core,alloc", "--target-dir"])
        .arg(&target)
        .current_dir(source("core"));
    run(&mut cargo)?;
    Ok(target.join(TARGET).join("release/libhoma_kernel_core.a"))
}

/// The members of the archive, those of `compiler_builtins` under names of their own.
fn unpack(archive: &Path) -> Result<Vec<PathBuf>, String> {
    let parts = directory().join("parts");
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

fn link(parts: &[PathBuf]) -> Result<PathBuf, String> {
    let script = directory().join("engine.lds");
    fs::write(&script, LINKER_SCRIPT).map_err(at(&script))?;
    let object = directory().join("homa_engine_core.o");
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
