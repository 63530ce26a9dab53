//! `longshore exec` and `longshore attach`: ExecuteCommand, and then the stream that its answer names.

use super::Context;
use crate::args::{AttachArgs, ExecArgs};
use crate::fault::Fault;
use crate::names;
use crate::stream::{self, End, Open};
use crate::terminal;
use longshore_ecs_api::requests::ExecuteCommandRequest;
use longshore_model::join_words;

/// What asks ExecuteCommand for the container's own process; no program has that name.
const ATTACH: &str = "LONGSHORE_ATTACH";

/// Carries out `exec`.
pub(super) fn execute(context: &Context, args: &ExecArgs) -> Result<(), Fault> {
    let terminal = args.tty || (!args.no_tty && terminal::is_here());
    let wish = Wish {
        task: &args.task,
        container: args.container.as_deref(),
        command: join_words(&args.command),
        stdin: args.stdin || terminal,
        terminal,
        user: args.user.as_deref(),
        attaching: false,
    };
    begin(context, wish)
}

/// Carries out `attach`.
pub(super) fn attach(context: &Context, args: &AttachArgs) -> Result<(), Fault> {
    let wish = Wish {
        task: &args.task,
        container: args.container.as_deref(),
        command: ATTACH.to_owned(),
        stdin: !args.no_stdin,
        terminal: terminal::is_here(),
        user: None,
        attaching: true,
    };
    begin(context, wish)
}

struct Wish<'a> {
    task: &'a str,
    container: Option<&'a str>,
    command: String,
    stdin: bool,
    terminal: bool,
    user: Option<&'a str>,
    attaching: bool,
}

fn begin(context: &Context, wish: Wish<'_>) -> Result<(), Fault> {
    if let Some(user) = wish.user
        && (user.is_empty() || !user.chars().all(|c| c.is_ascii_graphic()))
    {
        let why = "must be USER, UID, USER:GROUP or UID:GID".to_owned();
        return Err(Fault::Argument { argument: "--user", value: user.to_owned(), why });
    }
    let task = names::task(&context.api, wish.task)?;
    let answer = context.api.call(&ExecuteCommandRequest {
        cluster: Some(task.cluster),
        task: Some(task.id),
        container: wish.container.map(str::to_owned),
        command: Some(wish.command),
        interactive: Some(true),
    })?;
    let session = answer.session.unwrap_or_default();
    let end = stream::run(&Open {
        line: context.api.line(),
        url: session.stream_url.as_deref().unwrap_or_default(),
        token: session.token_value.as_deref().unwrap_or_default(),
        stdin: wish.stdin,
        terminal: wish.terminal,
        user: wish.user,
        attaching: wish.attaching,
    })?;
    match end {
        End::Exited(0) => Ok(()),
        End::Exited(code) => Err(Fault::Ended { status: u8::try_from(code).unwrap_or(255) }),
        End::Signal(number) => Err(Fault::Ended { status: u8::try_from(128 + number).unwrap_or(255) }),
        End::Detached => {
            eprintln!("longshore: left; the container goes on");
            Ok(())
        }
    }
}
