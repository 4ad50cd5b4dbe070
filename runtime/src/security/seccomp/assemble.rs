//! From rules to instructions.
//!
//! ```text
//! load architecture; one test per ABI, kill the process if none fits
//! per ABI: load number; binary search over ranges of numbers with the same outcome
//!          leaf: return a value, or test arguments rule by rule and then return the default
//! ```
//! A conditional jump spans at most 255 instructions; a longer one goes over an unconditional jump.

use oci_spec::runtime::LinuxSeccompOperator as Operator;

use super::syscalls::{Abi, X32_BIT};
use super::{Condition, Error, Rule};
use crate::sys::seccomp::Instruction;

/// `BPF_MAXINSNS`.
const MOST_INSTRUCTIONS: usize = 4096;
const KILL_PROCESS: u32 = 0x8000_0000;

// Operations: class | size or test | source.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in `struct seccomp_data`; all our machines are little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What happens to a range of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Return(u32),
    /// Rules in order; `narrow` if arguments have 32 bits.
    Test {
        rules: Vec<(Vec<Condition>, u32)>,
        narrow: bool,
    },
}

/// The program for these ABIs. `beyond` is the result for numbers greater than any in the rules.
pub(super) fn program(
    abis: &[Abi],
    rules: &[Rule<'_>],
    default: u32,
    beyond: u32,
) -> Result<Vec<Instruction>, Error> {
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    let mut tokens: Vec<u32> = Vec::new();
    for abi in abis {
        if !tokens.contains(&abi.audit_token()) {
            tokens.push(abi.audit_token());
        }
    }
    for token in tokens {
        let members: Vec<Abi> = abis.iter().copied().filter(|abi| abi.audit_token() == token).collect();
        let body = architecture(&members, rules, default, beyond);
        // Equal: into the body; else over it.
        code.push(test(EQUAL, token, 1, 0));
        code.push(plain(JUMP, body.len() as u32));
        code.extend(body);
    }
    code.push(plain(RETURN, KILL_PROCESS));
    if code.len() > MOST_INSTRUCTIONS {
        return Err(Error::TooLong { length: code.len() });
    }
    Ok(code)
}

/// Everything for one audit token, which is one ABI or x86-64 with or without x32.
fn architecture(members: &[Abi], rules: &[Rule<'_>], default: u32, beyond: u32) -> Vec<Instruction> {
    let mut ranges = Ranges::default();
    for abi in members.iter().filter(|abi| **abi != Abi::X32) {
        ranges.add_abi(*abi, rules, default, beyond);
    }
    if members.contains(&Abi::X86_64) {
        if members.contains(&Abi::X32) {
            ranges.add_abi(Abi::X32, rules, default, beyond);
        } else {
            // The other ABI of this token: its numbers would be looked up in the wrong table.
            ranges.push(X32_BIT, Outcome::Return(KILL_PROCESS));
        }
        // A tracer skips a call by setting its number to -1: no ABI, just no call.
        ranges.push(u32::MAX, Outcome::Return(beyond));
    }
    let mut code = vec![plain(LOAD, NUMBER)];
    code.extend(search(&ranges.0, default));
    code
}

/// Starts of ranges in ascending order with what happens from there on; neighbours differ.
#[derive(Debug, Default)]
struct Ranges(Vec<(u32, Outcome)>);

impl Ranges {
    /// Appends a range. A second one with the same start replaces the first.
    fn push(&mut self, start: u32, outcome: Outcome) {
        if self.0.last().is_some_and(|last| last.0 == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.1 != outcome) {
            self.0.push((start, outcome));
        }
    }

    /// Appends all numbers of an ABI.
    fn add_abi(&mut self, abi: Abi, rules: &[Rule<'_>], default: u32, beyond: u32) {
        let mut calls: Vec<Call<'_>> = Vec::with_capacity(rules.len() * 2);
        for (order, rule) in rules.iter().enumerate() {
            if let Some(number) = abi.number(rule.name) {
                calls.push(Call { number, order, rule, selector: None });
            }
            // Only a rule without conditions is the same rule when its arguments are out of sight.
            if rule.conditions.is_empty()
                && let Some((number, selector)) = abi.multiplexer(rule.name)
            {
                calls.push(Call { number, order, rule, selector: Some(selector) });
            }
        }
        calls.sort_unstable_by_key(|call| (call.number, call.order));
        let lowest = if abi == Abi::X32 { X32_BIT } else { 0 };
        // x32 has a few calls of its own from 512 on, 32-bit Arm from 0xf0000 on; what lies between is not known.
        let ordinary = calls.iter().rev().find(|call| call.number - lowest < 512);
        let newest = ordinary.map_or(lowest, |call| call.number);
        self.push(lowest, Outcome::Return(default));
        for same in calls.chunk_by(|one, other| one.number == other.number) {
            let number = same[0].number;
            self.push(number, outcome(same, abi.is_32_bit()));
            let next = if number >= newest { beyond } else { default };
            self.push(number + 1, Outcome::Return(next));
        }
    }
}

/// A rule under one of its numbers, for a multiplexing call with the value of its first argument.
struct Call<'a> {
    number: u32,
    order: usize,
    rule: &'a Rule<'a>,
    selector: Option<u32>,
}

/// What the rules for one number come to: one without conditions decides, else they are tested in order.
fn outcome(calls: &[Call<'_>], narrow: bool) -> Outcome {
    let decides = |call: &&Call<'_>| call.selector.is_none() && call.rule.conditions.is_empty();
    if let Some(call) = calls.iter().find(decides) {
        return Outcome::Return(call.rule.value);
    }
    let conditions = |call: &Call<'_>| match call.selector {
        Some(selector) => {
            let value = u64::from(selector);
            vec![Condition { index: 0, operator: Operator::ScmpCmpEq, value, masked: 0 }]
        }
        None => call.rule.conditions.clone(),
    };
    Outcome::Test { rules: calls.iter().map(|call| (conditions(call), call.rule.value)).collect(), narrow }
}

/// Binary search; the number is in the accumulator.
fn search(ranges: &[(u32, Outcome)], default: u32) -> Vec<Instruction> {
    match ranges {
        [] => vec![plain(RETURN, default)],
        [(_, Outcome::Return(value))] => vec![plain(RETURN, *value)],
        [(_, Outcome::Test { rules, narrow })] => argument_tests(rules, *narrow, default),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let pivot = upper[0].0;
            let lower = search(lower, default);
            let mut code = Vec::with_capacity(lower.len() * 2);
            match u8::try_from(lower.len()) {
                Ok(over) => code.push(test(AT_LEAST, pivot, over, 0)),
                Err(_) => {
                    code.push(test(AT_LEAST, pivot, 0, 1));
                    code.push(plain(JUMP, lower.len() as u32));
                }
            }
            code.extend(lower);
            code.extend(search(upper, default));
            code
        }
    }
}

/// Where a comparison goes.
#[derive(Clone, Copy)]
enum Target {
    /// The next instruction.
    Next,
    /// The condition holds: on to the following condition.
    Holds,
    /// It does not: on to the following rule.
    Fails,
}

/// An instruction whose jumps are not counted yet.
struct Draft(u16, u32, Target, Target);

/// Rules one after the other, each returning its value if all its conditions hold.
fn argument_tests(rules: &[(Vec<Condition>, u32)], narrow: bool, default: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, value) in rules {
        let drafts: Vec<Vec<Draft>> =
            conditions.iter().map(|condition| comparison(condition, narrow)).collect();
        // At most six conditions of six instructions: every jump within a rule fits its eight bits.
        let mut remaining: usize = drafts.iter().map(Vec::len).sum();
        for condition in drafts {
            let length = condition.len();
            for (at, Draft(operation, operand, holds, fails)) in condition.into_iter().enumerate() {
                let distance = |target| match target {
                    Target::Next => 0,
                    Target::Holds => length - at - 1,
                    // Over the rest of the rule and its return.
                    Target::Fails => remaining - at,
                };
                let (holds, fails) = (distance(holds) as u8, distance(fails) as u8);
                code.push(test(operation, operand, holds, fails));
            }
            remaining -= length;
        }
        code.push(plain(RETURN, *value));
    }
    code.push(plain(RETURN, default));
    code
}

/// A comparison of one argument in halves, as the machine compares 32 bits.
fn comparison(condition: &Condition, narrow: bool) -> Vec<Draft> {
    use Target::{Fails, Holds, Next};
    let low_at = ARGUMENTS + 8 * condition.index;
    let load = |offset| Draft(LOAD, offset, Next, Next);
    let (high, low) = halves(condition.value);
    // How the low halves decide, and where to go if the high halves are greater or differ.
    let (low_test, low_holds, low_fails, greater, different) = match condition.operator {
        Operator::ScmpCmpMaskedEq => return masked_comparison(condition, narrow),
        Operator::ScmpCmpEq => (EQUAL, Holds, Fails, Next, Fails),
        Operator::ScmpCmpNe => (EQUAL, Fails, Holds, Next, Holds),
        Operator::ScmpCmpGt => (GREATER, Holds, Fails, Holds, Fails),
        Operator::ScmpCmpGe => (AT_LEAST, Holds, Fails, Holds, Fails),
        Operator::ScmpCmpLt => (AT_LEAST, Fails, Holds, Fails, Holds),
        Operator::ScmpCmpLe => (GREATER, Fails, Holds, Fails, Holds),
    };
    let mut drafts = Vec::with_capacity(5);
    if !narrow {
        drafts.push(load(low_at + 4));
        if !matches!(greater, Next) {
            drafts.push(Draft(GREATER, high, greater, Next));
        }
        drafts.push(Draft(EQUAL, high, Next, different));
    }
    drafts.push(load(low_at));
    drafts.push(Draft(low_test, low, low_holds, low_fails));
    drafts
}

/// `argument & value == masked & value`: bits outside the mask do not count, as libseccomp reads it.
fn masked_comparison(condition: &Condition, narrow: bool) -> Vec<Draft> {
    use Target::{Fails, Holds, Next};
    let low_at = ARGUMENTS + 8 * condition.index;
    let ((mask_high, mask_low), (high, low)) =
        (halves(condition.value), halves(condition.masked & condition.value));
    let mut drafts = Vec::with_capacity(6);
    if !narrow {
        drafts.push(Draft(LOAD, low_at + 4, Next, Next));
        drafts.push(Draft(AND, mask_high, Next, Next));
        drafts.push(Draft(EQUAL, high, Next, Fails));
    }
    drafts.push(Draft(LOAD, low_at, Next, Next));
    drafts.push(Draft(AND, mask_low, Next, Next));
    drafts.push(Draft(EQUAL, low, Holds, Fails));
    drafts
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

fn plain(code: u16, operand: u32) -> Instruction {
    test(code, operand, 0, 0)
}

fn test(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}
