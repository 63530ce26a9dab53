//! Commands in containers: orders, and what goes to and fro.

use super::{Fault, FieldError, Within, at_most, id, required};
use crate::v1;
use crate::v1::exec_from_agent::Kind as Sent;
use crate::v1::exec_to_agent::Kind as To;
use longshore_model::{
    ContainerName, EXEC_CHUNK, ExecId, ExecInput, ExecOrder, ExecOutput, ExecWhat, MAX_EXEC_BYTES, MAX_EXEC_WORDS,
    TerminalSize,
};

impl From<ExecOrder> for v1::ExecOrder {
    fn from(order: ExecOrder) -> Self {
        let what = match order.what {
            ExecWhat::Command { argv, user } => v1::exec_order::What::Command(v1::ExecCommand { argv, user }),
            ExecWhat::Attach => v1::exec_order::What::Attach(v1::ExecAttach {}),
        };
        Self {
            id: order.id.to_string(),
            task_id: order.task.to_string(),
            container: order.container.to_string(),
            what: Some(what),
            stdin: order.stdin,
            terminal: order.terminal.map(Into::into),
        }
    }
}

impl TryFrom<v1::ExecOrder> for ExecOrder {
    type Error = FieldError;

    fn try_from(order: v1::ExecOrder) -> Result<Self, FieldError> {
        let what = match required("what", order.what)? {
            v1::exec_order::What::Command(v1::ExecCommand { argv, user }) => {
                at_most("command.argv", argv.len(), MAX_EXEC_WORDS)?;
                at_most("command.argv", argv.iter().map(String::len).sum(), MAX_EXEC_BYTES)?;
                if argv.first().is_none_or(String::is_empty) {
                    return Err(FieldError::new("command.argv", Fault::Missing));
                }
                ExecWhat::Command { argv, user }
            }
            v1::exec_order::What::Attach(v1::ExecAttach {}) => ExecWhat::Attach,
        };
        Ok(Self {
            id: id("id", order.id.parse())?,
            task: id("task_id", order.task_id.parse())?,
            container: id("container", ContainerName::new(order.container))?,
            what,
            stdin: order.stdin,
            terminal: order.terminal.map(TerminalSize::try_from).transpose().within("terminal")?,
        })
    }
}

impl From<TerminalSize> for v1::TerminalSize {
    fn from(size: TerminalSize) -> Self {
        Self { rows: size.rows.into(), columns: size.columns.into() }
    }
}

impl TryFrom<v1::TerminalSize> for TerminalSize {
    type Error = FieldError;

    fn try_from(size: v1::TerminalSize) -> Result<Self, FieldError> {
        let short = |field, value: u32| {
            let range = Fault::Range { value: value.into(), min: 0, max: u16::MAX.into() };
            u16::try_from(value).map_err(|_| FieldError::new(field, range))
        };
        Ok(Self { rows: short("rows", size.rows)?, columns: short("columns", size.columns)? })
    }
}

impl From<ExecInput> for v1::ExecToAgent {
    fn from(input: ExecInput) -> Self {
        let kind = match input {
            ExecInput::Data(bytes) => To::Data(bytes.into()),
            ExecInput::End => To::End(v1::ExecInputEnd {}),
            ExecInput::Resize(size) => To::Resize(size.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::ExecToAgent> for ExecInput {
    type Error = FieldError;

    fn try_from(message: v1::ExecToAgent) -> Result<Self, FieldError> {
        Ok(match required("kind", message.kind)? {
            To::Data(bytes) => {
                at_most("data", bytes.len(), EXEC_CHUNK)?;
                Self::Data(bytes.into())
            }
            To::End(v1::ExecInputEnd {}) => Self::End,
            To::Resize(size) => Self::Resize(TerminalSize::try_from(size).within("resize")?),
        })
    }
}

impl From<ExecOutput> for v1::ExecFromAgent {
    fn from(output: ExecOutput) -> Self {
        let kind = match output {
            ExecOutput::Started { terminal, stdin } => Sent::Started(v1::ExecStarted { terminal, stdin }),
            ExecOutput::Stdout(bytes) => Sent::Stdout(bytes.into()),
            ExecOutput::Stderr(bytes) => Sent::Stderr(bytes.into()),
            ExecOutput::Taken(bytes) => Sent::Taken(bytes),
            ExecOutput::Exit(code) => Sent::Exit(code),
            ExecOutput::Failed(why) => Sent::Failed(why),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::ExecFromAgent> for ExecOutput {
    type Error = FieldError;

    fn try_from(message: v1::ExecFromAgent) -> Result<Self, FieldError> {
        Ok(match required("kind", message.kind)? {
            Sent::Begin(_) => return Err(FieldError::new("begin", Fault::Rule("is for the first message only"))),
            Sent::Started(v1::ExecStarted { terminal, stdin }) => Self::Started { terminal, stdin },
            Sent::Stdout(bytes) => {
                at_most("stdout", bytes.len(), EXEC_CHUNK)?;
                Self::Stdout(bytes.into())
            }
            Sent::Stderr(bytes) => {
                at_most("stderr", bytes.len(), EXEC_CHUNK)?;
                Self::Stderr(bytes.into())
            }
            Sent::Taken(bytes) => Self::Taken(bytes),
            Sent::Exit(code) => Self::Exit(code),
            Sent::Failed(why) => {
                at_most("failed", why.chars().count(), 4096)?;
                Self::Failed(why)
            }
        })
    }
}

/// The order that the first message of an agent's stream names.
///
/// # Errors
/// When it names none.
pub fn exec_begin(message: v1::ExecFromAgent) -> Result<ExecId, FieldError> {
    match required("kind", message.kind)? {
        Sent::Begin(text) => id("begin", text.parse()),
        Sent::Started(_) | Sent::Stdout(_) | Sent::Stderr(_) | Sent::Taken(_) | Sent::Exit(_) | Sent::Failed(_) => {
            Err(FieldError::new("kind", Fault::Rule("must be `begin` in the first message")))
        }
    }
}
