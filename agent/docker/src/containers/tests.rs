use super::*;

fn refused(status: u16, message: &str) -> DockerError {
    DockerError::Refused { doing: "it".into(), status, message: message.into() }
}

/// Messages as engines from 20.10 to 29 write them.
#[test]
fn failures_to_start_are_told_apart_by_the_engines_words() {
    type Kind = fn(&StartError) -> bool;
    let port: Kind = |e| matches!(e, StartError::PortTaken { port: Some(8080), .. });
    let absent: Kind = |e| matches!(e, StartError::NotFound { .. });
    let no_file: Kind = |e| matches!(e, StartError::BadCommand { exit_code: 127, .. });
    let no_exec: Kind = |e| matches!(e, StartError::BadCommand { exit_code: 126, .. });
    let other: Kind = |e| matches!(e, StartError::Engine { .. });
    let oci = "OCI runtime create failed: container_linux.go:380: starting container process caused: ";
    let network = "driver failed programming external connectivity on endpoint x (0a): ";
    let shim = "failed to create task for container: failed to create shim task: OCI runtime create failed: ";
    let cases: [(u16, String, Kind); 12] = [
        (500, format!("{network}Bind for 0.0.0.0:8080 failed: port is already allocated"), port),
        (
            500,
            format!("{network}Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use"),
            port,
        ),
        (
            500,
            format!("{network}Error starting userland proxy: listen udp6 [::]:8080: bind: address already in use"),
            port,
        ),
        (
            500,
            format!("{network}failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use"),
            port,
        ),
        (404, "No such container: ls-x".into(), absent),
        (400, format!("{oci}exec: \"nope\": executable file not found in $PATH: unknown"), no_file),
        (400, format!("{oci}exec: \"/bin/nope\": stat /bin/nope: no such file or directory: unknown"), no_file),
        (400, format!("{oci}exec: \"/etc/passwd\": permission denied: unknown"), no_exec),
        (400, format!("{shim}unable to start container process: exec: \"/etc\": is a directory: unknown"), no_exec),
        (400, format!("{shim}exec /app: exec format error: unknown"), no_exec),
        (400, format!("{oci}mounting \"/nope\" to rootfs caused: no such file or directory: unknown"), other),
        (404, "network 0a1b not found".into(), other),
    ];
    for (status, message, is_kind) in cases {
        let error = classify_start("ls-x", refused(status, &message));
        assert!(is_kind(&error), "{message}: {error:?}");
    }
}

#[test]
fn an_unclear_outcome_is_looked_at_before_it_is_tried_again() {
    let late = || DockerError::Timeout { doing: "it".into(), after: Duration::from_secs(1) };
    assert_eq!(classify_start("x", late()).retry(), Retry::LookFirst);
    assert_eq!(classify_create("x", "i", late()).retry(), Retry::LookFirst);
    assert_eq!(
        classify_create("x", "i", refused(409, "Conflict. The container name is in use")).retry(),
        Retry::LookFirst
    );
    let away = DockerError::Unreachable { endpoint: "unix:///x".into(), source: "no".into() };
    assert_eq!(classify_start("x", away).retry(), Retry::Later);
}

#[test]
fn removals_that_are_under_way_are_told_apart() {
    let kind = |message| classify_remove("x", refused(409, message));
    assert!(matches!(kind("removal of container x is already in progress"), RemoveError::InProgress { .. }));
    assert!(matches!(
        kind("You cannot remove a running container 0a. Stop the container"),
        RemoveError::Running { .. }
    ));
    assert!(matches!(kind("You cannot remove a paused container 0a."), RemoveError::Running { .. }));
    assert!(matches!(kind("something new"), RemoveError::Engine { .. }));
}

#[test]
fn the_engines_year_one_is_never() {
    assert_eq!(time("0001-01-01T00:00:00Z"), None);
    assert_eq!(time("2026-01-02T03:04:05.678901234Z"), Some(Timestamp::from_millis(1_767_323_045_678)));
    assert_eq!(time("soon"), None);
}

#[test]
fn health_is_read_from_a_listings_text() {
    for (status, health) in [
        ("Up 2 minutes (healthy)", Some(HealthStatus::Healthy)),
        ("Up 2 minutes (unhealthy)", Some(HealthStatus::Unhealthy)),
        ("Up 2 seconds (health: starting)", Some(HealthStatus::Unknown)),
        ("Exited (0) 2 minutes ago", None),
    ] {
        assert_eq!(health_in(status), health, "{status}");
    }
}

#[test]
fn an_end_without_a_beginning_is_an_end() {
    use bollard::models::ContainerState;
    let of = |finished_at: &str, error: &str, code| {
        let state = ContainerState {
            status: Some(ContainerStateStatusEnum::CREATED),
            started_at: Some("0001-01-01T00:00:00Z".into()),
            finished_at: Some(finished_at.into()),
            error: Some(error.into()),
            exit_code: Some(code),
            ..ContainerState::default()
        };
        InspectedContainer::from(ContainerInspectResponse { state: Some(state), ..ContainerInspectResponse::default() })
    };
    let never = of("0001-01-01T00:00:00Z", "", 0);
    assert_eq!((never.started_at, never.exit), (None, None));
    let failed = of("0001-01-01T00:00:00Z", "no such file", 127);
    assert_eq!((failed.started_at, failed.exit.map(|e| e.code)), (None, Some(127)));
    let unheard = of("2026-01-02T03:04:05Z", "", 3);
    assert_eq!(unheard.started_at, time("2026-01-02T03:04:05Z"));
    assert!(unheard.started_at.is_some() && unheard.exit.is_some_and(|e| e.code == 3));
}
