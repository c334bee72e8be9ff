# shellcheck shell=bash
# How many threads the engine gets. Decoding is bound by memory bandwidth: one thread a physical core; reading the
# prompt is bound by arithmetic: every CPU we may use.

# Sets SLM_THREADS and SLM_THREADS_BATCH from the judged parameter.
resolve_threads() {
  local wanted=${SLM_VALUE[threads]} allowed usable
  allowed=$(allowed_cpus) || return
  usable=$(usable_cpus "$allowed") || return
  SLM_THREADS_BATCH=$usable
  if ((wanted == 0)); then
    SLM_THREADS=$(usable_cores "$allowed" "$usable")
    return
  fi
  if ((wanted > usable)); then
    msg warning "ONEAPP_SLM_THREADS: $wanted threads on $usable usable CPUs would only slow each other down; taking $usable"
    wanted=$usable
  fi
  # shellcheck disable=SC2034 # the engine reads both
  SLM_THREADS=$wanted SLM_THREADS_BATCH=$wanted
}

# usable_cores ALLOWED USABLE   physical cores behind the allowed CPUs, at most USABLE, at least 1.
usable_cores() {
  local allowed=$1 usable=$2 cores
  cores=$(count_cores "$allowed")
  # Some hypervisors present every vCPU as a thread of one core; nobody sells such a machine.
  if ((cores <= 1 || cores > usable)); then
    cores=$usable
  fi
  echo "$cores"
}

# usable_cpus ALLOWED   CPUs this machine may really use: at most the whole CPUs of the tightest quota, at least 1.
usable_cpus() {
  local cpus quota
  cpus=$(wc -w <<<"$1")
  quota=$(quota_cpus)
  if [[ -n $quota ]] && ((quota < cpus)); then
    cpus=$quota
  fi
  echo $((cpus < 1 ? 1 : cpus))
}

# CPU numbers in one line: the affinity of this process cut with every cpuset above it.
allowed_cpus() {
  {
    awk '$1 == "Cpus_allowed_list:" { print $2 }' "$SLM_PROC/self/status" 2>/dev/null || echo "0-$(($(nproc --all) - 1))"
    cpuset_lists
  } | awk -F, '
    /^[0-9,-]+$/ {
      lists++
      for (i = 1; i <= NF; i++) {
        n = split($i, ends, "-")
        for (cpu = ends[1] + 0; cpu <= ends[n] + 0; cpu++) count[cpu]++
      }
    }
    END { for (cpu = 0; cpu < 8192; cpu++) if (lists && count[cpu] == lists) printf "%d ", cpu }'
}

# count_cores ALLOWED   physical cores (socket and core number) that have an allowed CPU; 0 when lscpu can't tell.
count_cores() {
  { lscpu --parse=CPU,SOCKET,CORE 2>/dev/null || true; } | awk -F, -v allowed="$1" '
    BEGIN { n = split(allowed, list, " "); for (i = 1; i <= n; i++) may[list[i]] = 1 }
    !/^#/ && ($1 in may) && $3 != "" && !seen[$2 "," $3]++ { cores++ }
    END { print cores + 0 }'
}

# Whole CPUs of the tightest quota on the way from our cgroup up to the root; nothing when there is none.
quota_cpus() {
  local folder
  {
    while read -r folder; do
      cat "$folder/cpu.max" 2>/dev/null || true
    done < <(cgroup_folders '' "$SLM_CGROUP" "$SLM_CGROUP/unified")
    while read -r folder; do
      paste -d' ' "$folder/cpu.cfs_quota_us" "$folder/cpu.cfs_period_us" 2>/dev/null || true
    done < <(cgroup_folders cpu "$SLM_CGROUP/cpu" "$SLM_CGROUP/cpu,cpuacct")
  } | awk '
    $1 == "max" || $1 <= 0 || $2 <= 0 { next }
    { cpus = int($1 / $2); if (cpus < 1) cpus = 1; if (!found++ || cpus < least) least = cpus }
    END { if (found) print least }'
}

# The cpusets that bind us, one list a line.
cpuset_lists() {
  local folder
  while read -r folder; do
    cat "$folder/cpuset.cpus.effective" 2>/dev/null || cat "$folder/cpuset.effective_cpus" 2>/dev/null || true
  done < <(
    cgroup_folders '' "$SLM_CGROUP" "$SLM_CGROUP/unified"
    cgroup_folders cpuset "$SLM_CGROUP/cpuset"
  )
}

# cgroup_folders CONTROLLER MOUNT...   our folder in that hierarchy and every one above it, where they exist.
# An empty controller means cgroup v2.
cgroup_folders() {
  local controller=$1 id names path='' mount folder
  shift
  while IFS=: read -r id names folder; do
    if [[ ,$names, == *",$controller,"* && (-n $controller || $id == 0) ]]; then
      path=$folder
      break
    fi
  done < <(cat "$SLM_PROC/self/cgroup" 2>/dev/null || true)
  [[ $path == /* ]] || return 0
  for mount in "$@"; do
    [[ -d $mount ]] || continue
    folder=$mount${path%/}
    while [[ $folder == "$mount"* ]]; do
      [[ ! -d $folder ]] || printf '%s\n' "$folder"
      [[ $folder != "$mount" ]] || break
      folder=${folder%/*}
    done
  done
}
