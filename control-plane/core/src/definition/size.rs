//! CPU and memory: how they may be written, and what adds up.

use super::checks::{at, mistake, range};
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::{ContainerDefinition, TaskDefinition};

/// CPU units that a task may have on hosts that are not FARGATE (ECS).
const CPU_UNITS: std::ops::RangeInclusive<i32> = 128..=196_608;
/// The least memory that Docker gives a container since 20.10, in MiB.
const LEAST_MEMORY_MIB: i32 = 6;

/// CPU as it is stored: `256`, `.25 vCPU` and `0.25 vcpu` are all `256`.
pub(super) fn cpu(text: &str) -> Result<String, ApiError> {
    let units = quantity(text, "vcpu");
    match units.filter(|units| CPU_UNITS.contains(units)) {
        Some(units) => Ok(units.to_string()),
        None => Err(mistake(format!(
            "Invalid 'cpu' setting for task. It must be {} to {} CPU units, or 0.125 to 192 vCPU, and is '{}'.",
            CPU_UNITS.start(),
            CPU_UNITS.end(),
            shown(text)
        ))),
    }
}

/// Memory as it is stored: `512`, `0.5 GB` and `.5gb` are all `512`.
pub(super) fn memory(text: &str) -> Result<String, ApiError> {
    match quantity(text, "gb").filter(|mib| *mib >= LEAST_MEMORY_MIB) {
        Some(mib) => Ok(mib.to_string()),
        None => Err(mistake(format!(
            "Invalid 'memory' setting for task. It must be at least {LEAST_MEMORY_MIB} MiB, written like '512' or '0.5 \
             GB', and is '{}'.",
            shown(text)
        ))),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}

/// A whole number, or a decimal number of units that are 1024 each.
fn quantity(text: &str, unit: &str) -> Option<i32> {
    let text = text.trim();
    let decimal = |number: &str| -> Option<i32> {
        let number = number.trim_end();
        let plain =
            number.bytes().all(|b| b.is_ascii_digit() || b == b'.') && number.bytes().any(|b| b.is_ascii_digit());
        let value: f64 = plain.then(|| number.parse().ok())??;
        let scaled = value * 1024.0;
        // Whole units only: a fraction of one would be stored as something else than was asked for.
        (scaled.fract() == 0.0 && scaled <= f64::from(i32::MAX)).then_some(scaled as i32)
    };
    let suffix_at = text.len().checked_sub(unit.len()).filter(|at| text.is_char_boundary(*at));
    match suffix_at {
        Some(at) if text[at..].eq_ignore_ascii_case(unit) => decimal(&text[..at]),
        _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// The stored form's number.
pub(super) fn stored(text: Option<&String>) -> Option<i32> {
    text.and_then(|text| text.parse().ok())
}

/// A container's own settings.
pub(super) fn check_container(
    container: &ContainerDefinition,
    index: usize,
    definition: &TaskDefinition,
) -> Result<(), ApiError> {
    let name = container.name.as_deref().unwrap_or_default();
    range(container.cpu, 0..=*CPU_UNITS.end(), || at(index, "cpu"))?;
    let (memory, reservation) = (container.memory, container.memory_reservation);
    if definition.memory.is_none() && memory.is_none() && reservation.is_none() {
        return Err(mistake(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        )));
    }
    for (field, value) in [("memory", memory), ("memoryReservation", reservation)] {
        if value.is_some_and(|mib| mib < LEAST_MEMORY_MIB) {
            return Err(mistake(format!(
                "Invalid '{field}' setting for container '{name}'. It must be at least {LEAST_MEMORY_MIB} MiB."
            )));
        }
    }
    if let (Some(memory), Some(reservation)) = (memory, reservation)
        && memory < reservation
    {
        return Err(mistake(format!(
            "Invalid setting for container '{name}'. 'memory' must not be less than 'memoryReservation'."
        )));
    }
    if let Some(task) = stored(definition.memory.as_ref()) {
        for (field, value) in [("memory", memory), ("memoryReservation", reservation)] {
            if value.is_some_and(|mib| mib > task) {
                return Err(mistake(format!(
                    "The '{field}' setting for container '{name}' is greater than for the task."
                )));
            }
        }
    }
    Ok(())
}

/// What the containers ask for together must fit into what the task is given.
pub(super) fn check_sums(definition: &TaskDefinition) -> Result<(), ApiError> {
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    let sum = |of: fn(&ContainerDefinition) -> Option<i32>| -> i64 {
        containers.iter().map(|c| i64::from(of(c).unwrap_or(0))).sum()
    };
    if let Some(task) = stored(definition.cpu.as_ref())
        && sum(|c| c.cpu) > i64::from(task)
    {
        return Err(mistake(
            "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
        ));
    }
    // What is reserved counts; hard limits above it may be shared.
    if let Some(task) = stored(definition.memory.as_ref())
        && sum(|c| c.memory_reservation.or(c.memory)) > i64::from(task)
    {
        return Err(mistake(
            "The sum of all container 'memoryReservation' or 'memory' values cannot be greater than the value of the \
             task 'memory'.",
        ));
    }
    Ok(())
}

/// Whether FARGATE has this size: the pairs of ECS's table.
pub(super) fn fargate_pair(cpu_units: i32, memory_mib: i32) -> bool {
    let gib = |from: i32, to: i32, step: i32| {
        memory_mib % 1024 == 0 && (from..=to).contains(&(memory_mib / 1024)) && (memory_mib / 1024 - from) % step == 0
    };
    match cpu_units {
        256 => matches!(memory_mib, 512 | 1024 | 2048),
        512 => gib(1, 4, 1),
        1024 => gib(2, 8, 1),
        2048 => gib(4, 16, 1),
        4096 => gib(8, 30, 1),
        8192 => gib(16, 60, 4),
        16384 => gib(32, 120, 8),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_as_people_write_it() {
        for (text, stored) in [
            ("256", Some("256")),
            (".25 vCPU", Some("256")),
            ("0.25vcpu", Some("256")),
            ("1 vcpu", Some("1024")),
            ("2.5 VCPU", Some("2560")),
            ("192 vCPU", Some("196608")),
            (" 512 ", Some("512")),
            ("127", None),
            ("196609", None),
            ("-256", None),
            ("+256", None),
            ("1e3", None),
            ("0x100", None),
            ("vCPU", None),
            (". vCPU", None),
            ("1.1.1 vCPU", None),
            ("inf vCPU", None),
            ("0.3 vCPU", None),
            ("256 GB", None),
            ("４ vCPU", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(cpu(text).ok().as_deref(), stored, "{text}");
        }
    }

    #[test]
    fn memory_as_people_write_it() {
        for (text, stored) in [
            ("512", Some("512")),
            ("0.5 GB", Some("512")),
            (".5gb", Some("512")),
            ("1GB", Some("1024")),
            ("6", Some("6")),
            ("5", None),
            ("512 MB", None),
            ("1 GiB", None),
            ("", None),
            ("GB", None),
            ("9999999 GB", None),
        ] {
            assert_eq!(memory(text).ok().as_deref(), stored, "{text}");
        }
    }

    #[test]
    fn fargate_pairs() {
        for (cpu, memory, exists) in [
            (256, 512, true),
            (256, 1024, true),
            (256, 2048, true),
            (256, 3072, false),
            (512, 512, false),
            (512, 4096, true),
            (1024, 8192, true),
            (1024, 9216, false),
            (2048, 4096, true),
            (4096, 30720, true),
            (4096, 31744, false),
            (8192, 16384, true),
            (8192, 17408, false),
            (8192, 61440, true),
            (16384, 32768, true),
            (16384, 122_880, true),
            (16384, 36864, false),
            (1024, 2049, false),
            (300, 1024, false),
        ] {
            assert_eq!(fargate_pair(cpu, memory), exists, "{cpu} {memory}");
        }
    }
}
