//! Compiles the protocol with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/agent.proto");
    let descriptors = protox::compile(["proto/agent.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        // What may hold secrets has a `Debug` of ours.
        .skip_debug([
            "longshore.agent.v1.EnvVar",
            "longshore.agent.v1.LogConfig",
            "longshore.agent.v1.DockerVolume",
            "longshore.agent.v1.JoinRequest",
            "longshore.agent.v1.RegistryCredentialsResponse",
            "longshore.agent.v1.ExecCommand",
            "longshore.agent.v1.ExecFromAgent",
            "longshore.agent.v1.ExecToAgent",
        ])
        // Large and rare: a queue takes room for dozens of messages at once, for each of thousands of sessions.
        .boxed("longshore.agent.v1.ControlMessage.kind.welcome")
        .boxed("longshore.agent.v1.ControlMessage.kind.assignment")
        .boxed("longshore.agent.v1.ControlMessage.kind.network")
        .boxed("longshore.agent.v1.ControlMessage.kind.exec")
        .codec_path("crate::codec::SmallCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
