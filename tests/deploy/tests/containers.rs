//! The programs of the two containers on a node of the lab, with the powers that the chart gives them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onsen_deploy_tests::read;
use onsen_harness::cni::Pod;
use onsen_harness::netns::Netns;
use onsen_harness::node::Node;
use onsen_harness::process::{Process, output, tool};
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test, programs};

const PATIENCE: Duration = Duration::from_mins(1);

/// What the main container of the chart keeps of root's powers.
const POWERS: &str = "-all,+net_admin,+net_raw";

/// The folders of a node as its containers see them.
struct Folders {
    app: PathBuf,
    bin: PathBuf,
    conf: PathBuf,
}

impl Folders {
    /// Puts the programs where the image has them.
    fn new(lab: &Lab) -> Result<Self> {
        let folder = |name| {
            let path = lab.dir().join(name);
            let made = std::fs::create_dir(&path);
            made.map_err(HarnessError::io(format!("create {}", path.display())))?;
            Ok(path)
        };
        let folders = Self {
            app: folder("app")?,
            bin: folder("bin")?,
            conf: folder("conf")?,
        };
        for name in ["onsend", "aws-cni", "onsen-entrypoint", "grpc-health-probe"] {
            copy(&programs::path(name)?, &folders.app.join(name))?;
        }
        let template = read("deploy/image/10-aws.conflist");
        std::fs::write(folders.app.join("10-aws.conflist"), template)
            .map_err(HarnessError::io("write the template"))?;
        Ok(folders)
    }

    fn list(&self) -> PathBuf {
        self.conf.join("10-aws.conflist")
    }

    /// Starts the main container's process 1.
    fn start(&self, node: &Node, log: &Path) -> Result<Process> {
        let mut command = node.netns.command("setpriv");
        command
            .arg(format!("--bounding-set={POWERS}"))
            .args(["--inh-caps=-all", "--no-new-privs", "--"])
            .arg(self.app.join("onsen-entrypoint"))
            .envs(&node.settings)
            .env("HOST_CNI_BIN_PATH", &self.bin)
            .env("HOST_CNI_CONFDIR_PATH", &self.conf);
        Process::start("onsen-entrypoint", &command, log)
    }

    /// The exit code of the probe as kubelet runs it.
    fn probe(&self, node: &Node) -> Result<Option<i32>> {
        Command::new(self.app.join("grpc-health-probe"))
            .arg(format!("-addr=unix://{}", node.plugin.socket.display()))
            .args(["-connect-timeout=5s", "-rpc-timeout=5s"])
            .output()
            .map(|output| output.status.code())
            .map_err(HarnessError::io("run the probe"))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to)
        .map(drop)
        .map_err(HarnessError::io(format!("copy {}", from.display())))
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(HarnessError::io(format!("read {}", path.display())))
}

/// Waits for a file, while the process that is to write it lives.
fn wait_for_file(path: &Path, process: &mut Process) -> Result<()> {
    wait_until(&format!("{}", path.display()), PATIENCE, || {
        process.must_run()?;
        Ok(if path.exists() { Ok(()) } else { Err("") })
    })
}

/// The daemon under a process 1.
fn daemon_of(process: &Process) -> Result<String> {
    let id = process.id();
    let children = text(Path::new(&format!("/proc/{id}/task/{id}/children")))?;
    Ok(children.trim().to_owned())
}

private_test! {
    fn a_node_is_called_ready_only_after_its_daemon_serves() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let folders = Folders::new(&lab)?;
        let log = lab.dir().join("entrypoint.log");
        let node = lab.node();
        let vpc = Netns::existing("vpc");
        vpc.tool("nft", &["table ip trouble { chain input { type filter hook input priority -400; tcp dport 80 reject with tcp reset; }\n}"])?;
        let mut process = folders.start(node, &log)?;
        wait_until("a word about IMDS", PATIENCE, || {
            process.must_run()?;
            let said = text(&log)?;
            Ok(if said.contains("IMDS") { Ok(()) } else { Err(said) })
        })?;
        assert!(folders.bin.join("aws-cni").is_file(), "the plugin is there before");
        assert!(!folders.list().exists(), "a daemon that does not serve is announced");
        assert_eq!(folders.probe(node)?, Some(2));

        vpc.tool("nft", &["delete table ip trouble"])?;
        wait_for_file(&folders.list(), &mut process)?;
        assert_eq!(folders.probe(node)?, Some(0));
        let list = text(&folders.list())?;
        assert!(list.contains(r#""type": "aws-cni""#) && !list.contains("__"), "{list}");
        node.plugin.program = folders.bin.join("aws-cni");
        let pod = Pod::create("a")?;
        let added = node.plugin.must_add(&pod)?;
        assert!(node.netns.can_ping(added.address)?, "the pod is wired");
        Ok(())
    }

    fn the_daemon_ends_with_its_container_and_tells_how() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let folders = Folders::new(&lab)?;
        let log = lab.dir().join("entrypoint.log");
        let node = lab.node();

        let mut process = folders.start(node, &log)?;
        wait_for_file(&folders.list(), &mut process)?;
        let daemon = PathBuf::from("/proc").join(daemon_of(&process)?);
        assert!(text(&daemon.join("comm"))?.starts_with("onsend"));
        assert_eq!(process.terminate(PATIENCE)?.code(), Some(0));
        assert!(!daemon.exists(), "the daemon outlived its container");
        assert!(folders.list().exists(), "pods' networks are there without a daemon");

        // The list is there from before: what counts is that this daemon serves.
        let mut process = folders.start(node, &log)?;
        wait_until("the second daemon", PATIENCE, || {
            process.must_run()?;
            let code = folders.probe(node)?;
            Ok(if code == Some(0) { Ok(()) } else { Err(code) })
        })?;
        tool("kill", &["-9", &daemon_of(&process)?])?;
        let ended = wait_until("the end", PATIENCE, || {
            Ok(process.ended()?.ok_or("runs"))
        })?;
        assert_eq!(ended.code(), Some(128 + 9), "kubelet sees a kill as a kill");
        Ok(())
    }

    fn a_bad_setting_ends_the_container_before_anything_is_touched() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let folders = Folders::new(&lab)?;
        let log = lab.dir().join("entrypoint.log");
        let node = lab.node();
        node.settings.insert("POD_MTU".to_owned(), "huge".to_owned());
        let mut process = folders.start(node, &log)?;
        let ended = wait_until("the end", PATIENCE, || {
            Ok(process.ended()?.ok_or("runs"))
        })?;
        assert_eq!(ended.code(), Some(1));
        assert!(text(&log)?.contains("POD_MTU=\"huge\""), "{}", text(&log)?);
        assert!(!folders.bin.join("aws-cni").exists());
        Ok(())
    }

    fn the_init_container_installs_programs_and_sets_the_primary_links_filter() {
        let mut lab = Lab::without_daemons(&LabOptions::default())?;
        let folders = Folders::new(&lab)?;
        let init = lab.dir().join("init");
        std::fs::create_dir(&init).map_err(HarnessError::io("create init/"))?;
        copy(&programs::path("onsen-init")?, &init.join("onsen-init"))?;
        std::fs::write(init.join("portmap"), "a plugin").map_err(HarnessError::io("write portmap"))?;
        let node = lab.node();
        let address = node.instance.primary_address.to_string();
        let links = node.netns.tool("ip", &["-o", "-4", "address", "show", "to", &address])?;
        let link = links.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let filter = format!("net.ipv4.conf.{link}.rp_filter");
        node.netns.tool("sysctl", &["-q", "-w", &format!("{filter}=1")])?;

        // A container sees the links of its own network namespace below /sys.
        let mut command = node.netns.command("unshare");
        command
            .args(["--mount", "--", "sh", "-c", "mount -t sysfs sysfs /sys && exec \"$0\""])
            .arg(init.join("onsen-init"))
            .envs(&node.settings)
            .env("HOST_CNI_BIN_PATH", &folders.bin)
            .env("DISABLE_TCP_EARLY_DEMUX", "true");
        output(&mut command)?;

        assert_eq!(text(&folders.bin.join("portmap"))?, "a plugin");
        assert!(!folders.bin.join("onsen-init").exists(), "it copies itself");
        let value = |name: &str| node.netns.tool("sysctl", &["-n", name]);
        assert_eq!(value(&filter)?.trim(), "2");
        assert_eq!(value("net.ipv4.tcp_early_demux")?.trim(), "0");
        Ok(())
    }
}
