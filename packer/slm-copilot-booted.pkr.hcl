# The same provisioning as slm-copilot.pkr.hcl for hosts where Packer's QEMU plugin can't be had: the harness boots
# the base disk (harness/image/build_guest.py), Packer's built-in null source logs in and provisions it, the harness
# shuts it down and compacts the disk.

packer {
  required_version = ">= 1.15.0"
}

variable "ssh_port" {
  type        = number
  description = "Port on 127.0.0.1 that leads to the booted guest's SSH server."
}

variable "ssh_private_key_file" {
  type        = string
  description = "Private key made for this one build."
}

variable "ssh_timeout" {
  type        = string
  description = "How long the base disk may take from power-on to an SSH login."
  default     = "5m"
}

variable "package_list" {
  type        = string
  description = "File that gets the list of the packages in the image."
}

source "null" "appliance" {
  communicator         = "ssh"
  ssh_host             = "127.0.0.1"
  ssh_port             = var.ssh_port
  ssh_username         = "root"
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = var.ssh_timeout
}

build {
  sources = ["source.null.appliance"]

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
