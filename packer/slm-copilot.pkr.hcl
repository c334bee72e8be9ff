# Turns the base disk into the appliance's image: boots it, provisions it from the staging ISO, seals it.
# Run through `make image` (harness/image/packer.py gives the variables without a default); what differs
# between flavors is data in flavors/<flavor>.pkrvars.json.

packer {
  required_version = ">= 1.15.0"
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.1.4"
    }
  }
}

# What a flavor decides

variable "flavor" {
  type        = string
  description = "Name of the flavor; the image is called slm-copilot-<flavor>.qcow2."
}

variable "disk_size_mib" {
  type        = number
  description = "Virtual size of the image in MiB, at least that of the base disk. 0 keeps the base disk's."
  default     = 0
}

variable "build_cpus" {
  type        = number
  description = "Virtual CPUs of the machine that is being provisioned."
  default     = 2
}

variable "build_memory_mib" {
  type        = number
  description = "Memory of the machine that is being provisioned, in MiB."
  default     = 2048
}

variable "ssh_timeout" {
  type        = string
  description = "How long the base disk may take from power-on to an SSH login."
  default     = "5m"
}

variable "compress" {
  type        = bool
  description = "Compress the image's clusters with zstd: smaller to upload, slower to start from."
  default     = false
}

variable "guest_network" {
  type        = string
  description = "closed: the guest that is provisioned reaches nothing. open: it installs packages from its distribution."
  default     = "closed"

  validation {
    condition     = contains(["closed", "open"], var.guest_network)
    error_message = "The guest's network must be closed or open."
  }
}

# What one build decides

variable "base_image" {
  type        = string
  description = "Path of the base disk (qcow2). It is copied, never written."
}

variable "base_sha256" {
  type        = string
  description = "Its sha256."
}

variable "staging_iso" {
  type        = string
  description = "Path of the ISO labelled CIDATA with appliance, artifacts, provisioning scripts and cloud-init's settings."
}

variable "output_directory" {
  type        = string
  description = "Folder that this build creates for the image."
}

variable "accelerator" {
  type        = string
  description = "kvm, or tcg where the host has no hardware virtualization."

  validation {
    condition     = contains(["kvm", "tcg"], var.accelerator)
    error_message = "The accelerator must be kvm or tcg."
  }
}

variable "ssh_private_key_file" {
  type        = string
  description = "Private key made for this one build."
}

variable "ssh_public_key_base64" {
  type        = string
  description = "Its public half. It reaches the guest as a systemd credential through SMBIOS, so that no disk ever holds a password or key to log in with."
}

variable "serial_log" {
  type        = string
  description = "File that gets the guest's serial console."
}

variable "package_list" {
  type        = string
  description = "File that gets the list of the packages in the image."
}

source "qemu" "appliance" {
  vm_name          = "slm-copilot-${var.flavor}.qcow2"
  output_directory = var.output_directory

  iso_url          = var.base_image
  iso_checksum     = "sha256:${var.base_sha256}"
  disk_image       = true
  format           = "qcow2"
  disk_size        = "${var.disk_size_mib}M"
  skip_resize_disk = var.disk_size_mib == 0
  disk_interface   = "virtio"
  disk_cache       = "unsafe"
  disk_discard     = "unmap"
  disk_compression = var.compress

  qemu_img_args {
    convert = var.compress ? ["-o", "compression_type=zstd"] : []
  }

  accelerator  = var.accelerator
  machine_type = "pc"
  cpu_model    = var.accelerator == "kvm" ? "host" : "max"
  cpus         = var.build_cpus
  memory       = var.build_memory_mib
  net_device   = "virtio-net"
  headless     = true
  disable_vnc  = true
  boot_wait    = "-1s"

  qemuargs = [
    # Reachable from this host only; and where all that the guest needs is on the staging disk it reaches nothing.
    ["-netdev", "user,id=user.0,restrict=${var.guest_network == "open" ? "off" : "on"},hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
    ["-cdrom", var.staging_iso],
    ["-device", "virtio-net,netdev=user.0,romfile="],
    ["-device", "virtio-rng-pci"],
    ["-smbios", "type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root=${var.ssh_public_key_base64}"],
    ["-serial", "file:${var.serial_log}"],
    ["-display", "none"],
    ["-vga", "none"],
  ]

  communicator         = "ssh"
  ssh_username         = "root"
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = var.ssh_timeout

  shutdown_command = "systemctl poweroff"
  shutdown_timeout = "5m"
}

build {
  sources = ["source.qemu.appliance"]

  provisioner "shell" {
    script          = "${path.root}/provision.sh"
    execute_command = "bash {{ .Path }}"
  }

  provisioner "file" {
    direction   = "download"
    source      = "/opt/slm-copilot/packages.txt"
    destination = var.package_list
  }
}
