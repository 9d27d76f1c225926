//! `hindsight ports`: what is plugged in.

use anyhow::{Context, Result};
use clap::Args;
use hindsight::arm::servo_arm;
use hindsight::clock::SystemClock;
use hindsight::link;
use serde_json::{Value, json};
use serialport::SerialPortType;

use super::{Common, Finish, output};

/// Adapters that arms are sold with: vendor and product id on USB, and what hangs on most of them.
const ADAPTERS: [(u16, u16, &str); 5] = [
    (0x1a86, 0x55d3, "CH343: the servo board of most SO-101"),
    (0x1a86, 0x7523, "CH340: some SO-101 boards, and many microcontrollers"),
    (0x0403, 0x6014, "FT232H: ROBOTIS U2D2, with Dynamixel servos"),
    (0x2f5d, 0x2202, "OpenRB-150, with Dynamixel servos"),
    (0x0483, 0x5740, "STM32 virtual port: a microcontroller"),
];

/// List the ports here, and which arm each looks like
#[derive(Debug, Args)]
pub(super) struct Ports {
    /// Also ask whether servos answer: opens each port and sends pings, which moves nothing
    #[arg(long)]
    probe: bool,
}

impl Ports {
    /// Lists them.
    ///
    /// # Errors
    /// The system does not tell its ports.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let ports = serialport::available_ports().context("the system does not tell its ports")?;
        let mut told: Vec<Value> = Vec::new();
        for port in &ports {
            let (usb, hint) = match &port.port_type {
                SerialPortType::UsbPort(usb) => {
                    let adapter = ADAPTERS.iter().find(|(vid, pid, _)| (*vid, *pid) == (usb.vid, usb.pid));
                    let product = usb.product.clone().unwrap_or_default();
                    (format!("{:04x}:{:04x}", usb.vid, usb.pid), adapter.map_or(product, |(.., hint)| hint.to_string()))
                }
                _ => (String::new(), "no USB port: hardly an arm".to_owned()),
            };
            let found = if self.probe { probe(&port.port_name) } else { String::new() };
            output::say(common, &format!("{:20} {usb:9}  {hint}  {found}", port.port_name));
            told.push(json!({ "port": port.port_name, "usb": usb, "looks_like": hint, "found": found }));
        }
        if ports.is_empty() {
            output::say(common, "no serial port here: plug the arm in, or start one with `hindsight sim --link PATH`");
        }
        output::finish(common, &json!({ "ports": told }));
        Ok(Finish::Done)
    }
}

fn probe(port: &str) -> String {
    let ask = || -> Result<_> { Ok(servo_arm::detect(link::open(port, SystemClock)?, SystemClock)?.0) };
    match ask() {
        Ok(Some(kit)) => format!("{} servos answer: {}", kit.maker, kit.name),
        Ok(None) => "no servo answers".into(),
        Err(error) => format!("{error:#}"),
    }
}
