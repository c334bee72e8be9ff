// Packer's QEMU plugin. It has no go.sum beside it yet: the version could not be had from the module proxy where
// this file was written, so Go's public checksum database is what verifies it. Whoever builds it first adds go.sum.
module slm-copilot/packer-plugin-qemu

go 1.25.8

require github.com/hashicorp/packer-plugin-qemu v1.1.4

tool github.com/hashicorp/packer-plugin-qemu

// The plugin carries this replacement in its own go.mod; Go honours it only in the main module.
replace github.com/zclconf/go-cty => github.com/nywilken/go-cty v1.13.3
