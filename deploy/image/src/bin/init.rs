//! `onsen-init`: makes a node ready for pods' networks, once, before the daemon starts.
//!
//! In: the files beside this program, instance metadata. Out: CNI programs on the host, sysctls. Any
//! failure ends it with 1, and kubelet starts it again.

use std::path::Path;
use std::process::ExitCode;

use onsen_image::settings::Init;
use onsen_image::{chain, imds, install, sysctl};

fn main() -> ExitCode {
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onsen-init: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Init::read(&|name| std::env::var(name).ok());
    let program = std::env::current_exe()?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let copied = install::copy_all(folder, &program, &settings.bin)?;
    eprintln!(
        "onsen-init: {} files copied to {}",
        copied.len(),
        settings.bin.display()
    );
    let mac = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(imds::primary_mac(&settings.imds_endpoint))?;
    let link = sysctl::link_of(&mac, Path::new("/sys/class/net"))?;
    sysctl::apply(Path::new("/proc/sys"), &link, settings.disable_early_demux)?;
    eprintln!("onsen-init: sysctls are set; the primary ENI is {link}, {mac}");
    Ok(())
}
