# shellcheck shell=bash
# May the engine run on this CPU at all? It chooses among libraries for many CPUs when it starts; below AVX2 the next
# one is several times slower, and hypervisors hide AVX2 unless told otherwise.

# What x86-64-v3 has and an engine of any speed uses.
SLM_CPU_FEATURES=(avx2 fma bmi2 f16c movbe)

check_cpu() {
  local flags feature missing=''
  cpu_fact flags
  flags=${CPU_FACT:+ $CPU_FACT }
  if [[ -z $flags ]]; then
    msg warning "$SLM_PROC/cpuinfo doesn't list the CPU's features: whether it has ${SLM_CPU_FEATURES[*]} is not checked"
    return 0
  fi
  for feature in "${SLM_CPU_FEATURES[@]}"; do
    [[ $flags == *" $feature "* ]] || missing+=" ${feature^^}"
  done
  [[ -z $missing ]] ||
    fail "this VM's CPU ($(cpu_name)) lacks$missing, which the engine needs; set CPU_MODEL = [ MODEL = \"host-passthrough\" ] in the VM template, or use a host with such a CPU (x86-64-v3)"
}

cpu_name() {
  local name
  cpu_fact 'model name'
  name=$(one_line "${CPU_FACT:-unknown}")
  printf '%s' "${name:0:60}"
}

# cpu_fact NAME   what /proc/cpuinfo says first under that name, in CPU_FACT.
cpu_fact() {
  local name value
  CPU_FACT=''
  [[ -r $SLM_PROC/cpuinfo ]] || return 0
  while IFS=: read -r name value; do
    if [[ ${name%%$'\t'*} == "$1" ]]; then
      CPU_FACT=${value# }
      return
    fi
  done <"$SLM_PROC/cpuinfo"
}
