# shellcheck shell=bash
# How many threads the engine gets. Decoding is bound by memory bandwidth: one thread a physical core; reading the
# prompt is bound by arithmetic: every CPU we may use.

#
# No programs but lscpu: a boot asks twice, also on emulated machines, where a program costs a tenth of a second.

# Sets SLM_THREADS and SLM_THREADS_BATCH from the judged parameter.
resolve_threads() {
  local wanted=${SLM_VALUE[threads]}
  find_allowed_cpus
  find_usable_cpus
  SLM_THREADS_BATCH=$USABLE_CPUS
  if ((wanted == 0)); then
    find_usable_cores
    SLM_THREADS=$USABLE_CORES
    return
  fi
  if ((wanted > USABLE_CPUS)); then
    msg warning "ONEAPP_SLM_THREADS: $wanted threads on $USABLE_CPUS usable CPUs would only slow each other down; taking $USABLE_CPUS"
    wanted=$USABLE_CPUS
  fi
  # shellcheck disable=SC2034 # the engine reads both
  SLM_THREADS=$wanted SLM_THREADS_BATCH=$wanted
}

# Sets USABLE_CORES: physical cores behind the allowed CPUs, at most USABLE_CPUS, at least 1.
find_usable_cores() {
  count_cores
  # Some hypervisors present every vCPU as a thread of one core; nobody sells such a machine.
  if ((USABLE_CORES <= 1 || USABLE_CORES > USABLE_CPUS)); then
    USABLE_CORES=$USABLE_CPUS
  fi
}

# Sets USABLE_CPUS: those this machine may really use, at most the whole CPUs of the tightest quota, at least 1.
find_usable_cpus() {
  USABLE_CPUS=${#ALLOWED_CPUS[@]}
  find_cpu_quota
  if [[ -n $CPU_QUOTA ]] && ((CPU_QUOTA < USABLE_CPUS)); then
    USABLE_CPUS=$CPU_QUOTA
  fi
  ((USABLE_CPUS >= 1)) || USABLE_CPUS=1
}

# Sets ALLOWED_CPUS, the numbers: the affinity of this process cut with every cpuset above it.
find_allowed_cpus() {
  local list lists=0 cpu
  local -a count=()
  ALLOWED_CPUS=()
  find_cpu_lists
  for list in "${CPU_LISTS[@]}"; do
    [[ $list =~ ^[0-9,-]+$ ]] || continue
    lists=$((lists + 1))
    count_cpus "$list"
  done
  for cpu in "${!count[@]}"; do
    if ((count[cpu] == lists)); then
      ALLOWED_CPUS+=("$cpu")
    fi
  done
}

# count_cpus LIST   adds each CPU of a list such as 0-3,8 to the caller's `count`.
count_cpus() {
  local ends cpu
  local -a ranges
  IFS=, read -ra ranges <<<"$1"
  for ends in "${ranges[@]}"; do
    [[ $ends =~ ^([0-9]{1,4})(-([0-9]{1,4}))?$ ]] || continue
    for ((cpu = 10#${BASH_REMATCH[1]}; cpu <= 10#${BASH_REMATCH[3]:-${BASH_REMATCH[1]}}; cpu++)); do
      count[cpu]=$((${count[cpu]:-0} + 1))
    done
  done
}

# Sets CPU_LISTS: our affinity, and the cpusets that bind us.
find_cpu_lists() {
  local name value folder
  CPU_LISTS=()
  if [[ -r $SLM_PROC/self/status ]]; then
    while read -r name value; do
      [[ $name != Cpus_allowed_list: ]] || CPU_LISTS+=("$value")
    done <"$SLM_PROC/self/status"
  else
    CPU_LISTS=("0-$(($(nproc --all) - 1))")
  fi
  find_cgroup_folders '' "$SLM_CGROUP" "$SLM_CGROUP/unified"
  local -a folders=("${CGROUP_FOLDERS[@]}")
  find_cgroup_folders cpuset "$SLM_CGROUP/cpuset"
  for folder in "${folders[@]}" "${CGROUP_FOLDERS[@]}"; do
    if read_first "$folder/cpuset.cpus.effective" || read_first "$folder/cpuset.effective_cpus"; then
      CPU_LISTS+=("$FIRST")
    fi
  done
}

# Sets USABLE_CORES: physical cores (socket and core number) that have an allowed CPU; 0 when lscpu can't tell.
count_cores() {
  local line cpu place
  local -a lines
  local -A seen=()
  USABLE_CORES=0
  mapfile -t lines < <(lscpu --parse=CPU,SOCKET,CORE 2>/dev/null)
  for line in "${lines[@]}"; do
    cpu=${line%%,*} place=${line#*,}
    [[ $line == [0-9]*,*,?* && " ${ALLOWED_CPUS[*]} " == *" $cpu "* && -z ${seen[$place]-} ]] || continue
    seen[$place]=yes
    USABLE_CORES=$((USABLE_CORES + 1))
  done
}

# Sets CPU_QUOTA: whole CPUs of the tightest quota on the way from our cgroup up to the root; empty when there is none.
find_cpu_quota() {
  local folder quota period
  CPU_QUOTA=''
  find_cgroup_folders '' "$SLM_CGROUP" "$SLM_CGROUP/unified"
  for folder in "${CGROUP_FOLDERS[@]}"; do
    ! read_first "$folder/cpu.max" || note_quota "${FIRST%% *}" "${FIRST##* }"
  done
  find_cgroup_folders cpu "$SLM_CGROUP/cpu" "$SLM_CGROUP/cpu,cpuacct"
  for folder in "${CGROUP_FOLDERS[@]}"; do
    read_first "$folder/cpu.cfs_quota_us" || continue
    quota=$FIRST
    read_first "$folder/cpu.cfs_period_us" || continue
    period=$FIRST
    note_quota "$quota" "$period"
  done
}

# note_quota QUOTA PERIOD   in microseconds; QUOTA may be "max" or -1.
note_quota() {
  local cpus
  [[ $1 =~ ^[1-9][0-9]*$ && $2 =~ ^[1-9][0-9]*$ ]] || return 0
  cpus=$(($1 / $2))
  ((cpus >= 1)) || cpus=1
  if [[ -z $CPU_QUOTA ]] || ((cpus < CPU_QUOTA)); then
    CPU_QUOTA=$cpus
  fi
}

# read_first FILE   its first line, in FIRST; fails where there is none.
read_first() {
  FIRST=''
  [[ -r $1 ]] || return
  read -r FIRST <"$1" || [[ -n $FIRST ]]
}

# find_cgroup_folders CONTROLLER MOUNT...   sets CGROUP_FOLDERS: our folder in that hierarchy and every one above it,
# where they exist. An empty controller means cgroup v2.
find_cgroup_folders() {
  local controller=$1 id names path='' mount folder
  shift
  CGROUP_FOLDERS=()
  [[ -r $SLM_PROC/self/cgroup ]] || return 0
  while IFS=: read -r id names folder; do
    if [[ ,$names, == *",$controller,"* && (-n $controller || $id == 0) ]]; then
      path=$folder
      break
    fi
  done <"$SLM_PROC/self/cgroup"
  [[ $path == /* ]] || return 0
  for mount in "$@"; do
    [[ -d $mount ]] || continue
    folder=$mount${path%/}
    while [[ $folder == "$mount"* ]]; do
      [[ ! -d $folder ]] || CGROUP_FOLDERS+=("$folder")
      [[ $folder != "$mount" ]] || break
      folder=${folder%/*}
    done
  done
}
