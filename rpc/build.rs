//! Generates the messages, clients and servers from `proto/rpc.proto` without the `protoc` program.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/rpc.proto");
    let files = protox::compile(["rpc.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
