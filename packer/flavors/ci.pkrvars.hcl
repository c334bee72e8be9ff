# Flavor `ci`: small, every part from a package registry, builds and boots without KVM.
flavor           = "ci"
disk_size_mib    = 0
build_cpus       = 2
build_memory_mib = 2048
ssh_timeout      = "5m"
compress         = false
