//! Commands in containers.

use super::{name, task_id, text};
use longshore_model::{ContainerName, ExecId, ExecInput, ExecOrder, ExecOutput, ExecWhat, TerminalSize};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn size() -> impl Strategy<Value = TerminalSize> {
    any::<(u16, u16)>().prop_map(|(rows, columns)| TerminalSize { rows, columns })
}

fn what() -> impl Strategy<Value = ExecWhat> {
    prop_oneof![
        (vec(text(), 1..4), of(name())).prop_map(|(mut argv, user)| {
            argv[0] = format!("/{}", argv[0]);
            ExecWhat::Command { argv, user }
        }),
        Just(ExecWhat::Attach),
    ]
}

pub(in super::super) fn exec_order() -> impl Strategy<Value = ExecOrder> {
    (any::<[u8; 16]>(), task_id(), name(), what(), any::<bool>(), of(size())).prop_map(
        |(id, task, container, what, stdin, terminal)| ExecOrder {
            id: ExecId::from_bytes(id),
            task,
            container: ContainerName::new(container).expect("a name"),
            what,
            stdin,
            terminal,
        },
    )
}

pub(in super::super) fn exec_input() -> impl Strategy<Value = ExecInput> {
    prop_oneof![
        vec(any::<u8>(), 0..64).prop_map(ExecInput::Data),
        Just(ExecInput::End),
        size().prop_map(ExecInput::Resize),
    ]
}

pub(in super::super) fn exec_output() -> impl Strategy<Value = ExecOutput> {
    prop_oneof![
        any::<(bool, bool)>().prop_map(|(terminal, stdin)| ExecOutput::Started { terminal, stdin }),
        vec(any::<u8>(), 0..64).prop_map(ExecOutput::Stdout),
        vec(any::<u8>(), 0..64).prop_map(ExecOutput::Stderr),
        any::<u32>().prop_map(ExecOutput::Taken),
        any::<i32>().prop_map(ExecOutput::Exit),
        text().prop_map(ExecOutput::Failed),
    ]
}
