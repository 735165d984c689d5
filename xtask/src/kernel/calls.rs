//! Calls inside of the engine's object, filled in before the kernel's loader would.
//!
//! *Design*: a relocatable object leaves every call to the loader, which takes 24 bytes of the module,
//! since sections may come to lie anywhere. But the engine's functions are all in one section, which
//! moves as a whole: how far it is from one to the other never changes.

use core::ops::Range;
use std::fs;
use std::path::Path;

use super::at;

/// Bytes of the header of a section, a relocation and a symbol of ELF.
const SECTION_BYTES: usize = 64;
const RELOCATION_BYTES: usize = 24;
const SYMBOL_BYTES: usize = 24;

/// `R_X86_64_PC32` and `R_X86_64_PLT32`: 32 bits, counted from where they stand.
const RELATIVE: [u64; 2] = [2, 4];

/// `SHT_RELA`: relocations with addends.
const RELOCATIONS: u64 = 4;

/// An object file of 64 bits, in memory.
struct Object(Vec<u8>);

/// What the header of a section says.
struct Section {
    /// Where the header says how long the section is.
    size_at: usize,
    kind: u64,
    bytes: Range<usize>,
    /// Of relocations: the table of their symbols, and the section that they are for.
    symbols: usize,
    target: usize,
}

impl Object {
    /// A number of `bytes` bytes.
    fn number(&self, at: usize, bytes: usize) -> Option<u64> {
        let digits = self.0.get(at..at + bytes)?;
        let number = |all, &digit| all << 8 | u64::from(digit);
        Some(digits.iter().rev().fold(0, number))
    }

    fn index(&self, at: usize, bytes: usize) -> Option<usize> {
        usize::try_from(self.number(at, bytes)?).ok()
    }

    fn section(&self, number: usize) -> Option<Section> {
        let at = self.index(0x28, 8)? + number * SECTION_BYTES;
        let begin = self.index(at + 0x18, 8)?;
        Some(Section {
            size_at: at + 0x20,
            kind: self.number(at + 4, 4)?,
            bytes: begin..begin + self.index(at + 0x20, 8)?,
            symbols: self.index(at + 0x28, 4)?,
            target: self.index(at + 0x2c, 4)?,
        })
    }

    /// Fills in what the relocation at `at` wants, if that is known. `None`: it is not.
    fn fill_in(&mut self, at: usize, section: &Section) -> Option<()> {
        let place = self.index(at, 8)?;
        let what = self.number(at + 8, 8)?;
        let symbols = self.section(section.symbols)?.bytes;
        let symbol = symbols.start + SYMBOL_BYTES * usize::try_from(what >> 32).ok()?;
        let is_near = self.index(symbol + 6, 2)? == section.target;
        if !is_near || !RELATIVE.contains(&(what & 0xffff_ffff)) {
            return None;
        }
        let addend = self.number(at + 16, 8)?;
        let to = self.number(symbol + 8, 8)?.wrapping_add(addend);
        let distance = to.wrapping_sub(place as u64).cast_signed();
        let code = self.section(section.target)?.bytes;
        let field = self.0.get_mut(code)?.get_mut(place..place + 4)?;
        field.copy_from_slice(&i32::try_from(distance).ok()?.to_le_bytes());
        Some(())
    }

    /// Fills in what one section of relocations wants, and keeps the others.
    fn fill_in_all(&mut self, section: &Section) {
        let mut end = section.bytes.start;
        for at in section.bytes.clone().step_by(RELOCATION_BYTES) {
            if self.fill_in(at, section).is_none() {
                self.0.copy_within(at..at + RELOCATION_BYTES, end);
                end += RELOCATION_BYTES;
            }
        }
        let size = (end - section.bytes.start) as u64;
        self.0[section.size_at..section.size_at + 8].copy_from_slice(&size.to_le_bytes());
    }
}

/// Fills in the calls of an object file. What they took of it stays in the file, and is left out by the
/// next program that links it.
pub(super) fn fill_in(path: &Path) -> Result<(), String> {
    let mut object = Object(fs::read(path).map_err(at(path))?);
    for number in 0..object.index(0x3c, 2).unwrap_or(0) {
        let section = object.section(number);
        if let Some(section) = section.filter(|section| section.kind == RELOCATIONS) {
            object.fill_in_all(&section);
        }
    }
    fs::write(path, object.0).map_err(at(path))
}
