# shellcheck shell=bash
# What the engine has read of its clients' prompts, kept on disk across a restart: reading a long prompt anew costs
# minutes on few cores, loading it back a second. What is in such a file was said in confidence, so the folder is the
# engine's alone, its size is bounded, and SLM_KEPT_PROMPTS_MIB=0 in the unit's environment keeps nothing.
#
# A file's name tells what it depends on (model, context, engine) and its content's checksum and size:
#   prompt.KEY.CRC.BYTES
# It gets that name when it is whole. What a power cut, a kill or a full disk leaves has another name or doesn't fit
# its own, and is thrown away unread.

# MiB at most; by default 5 % of the file system, at most 1024, and never more than half of what is free.
SLM_KEPT_PROMPTS_MIB=${SLM_KEPT_PROMPTS_MIB:-}
# A prompt below that many tokens is read anew as quickly.
SLM_KEPT_LEAST_TOKENS=256
# Seconds that keeping may take: the engine is being stopped, or a client may come any moment.
SLM_KEPT_SAVE_S=${SLM_KEPT_SAVE_S:-2}
# Seconds that loading may take: clients wait for the start to end. What is left over is read anew.
SLM_KEPT_LOAD_S=20

# Keeps what idle clients have had read. Never fails: a prompt that isn't kept is read anew.
keep_prompts() {
  local limit key end_cs slot tokens
  limit=$(kept_prompts_limit_kib)
  ((limit > 0)) || return 0
  key=$(kept_prompts_key) || return 0
  read_model_shape "$SLM_MODEL_PATH" || return 0
  end_cs=$(($(uptime_cs) + SLM_KEPT_SAVE_S * 100))
  while read -r slot tokens; do
    ((tokens >= SLM_KEPT_LEAST_TOKENS)) || continue
    keep_prompt "$slot" "$((tokens * MODEL_TOKEN_BYTES / 1024))" "$limit" "$key" "$end_cs" || true
  done < <(engine_idle_prompts)
}

# keep_prompt SLOT KIB LIMIT_KIB KEY END_CS
keep_prompt() {
  local slot=$1 kib=$2 limit=$3 key=$4 seconds file unfinished=unfinished.$1
  ((kib <= limit)) || return
  seconds=$(seconds_until "$5") || return
  drop_kept_prompts_beyond $((limit - kib))
  if ! engine_save_prompt "$slot" "$unfinished" "$seconds"; then
    rm -f "$SLM_KEPT_DIR/$unfinished"
    return 1
  fi
  drop_kept_beginnings "$SLM_KEPT_DIR/$unfinished" "$key"
  file=prompt.$key.$(content_mark "$SLM_KEPT_DIR/$unfinished") || return
  mv -fT "$SLM_KEPT_DIR/$unfinished" "$SLM_KEPT_DIR/$file" || return
  # the engine's own figures may be off: a limit is a limit
  drop_kept_prompts_beyond "$limit"
}

# Loads what was kept into the engine, which has answered but not yet been shown to clients: newest first, as many as
# it has slots and as fit into its context. Never fails.
load_prompts() {
  local key end_cs name slot=0 seconds bytes room=${LLAMA_ARG_CTX_SIZE:-0}
  if (($(kept_prompts_limit_kib) == 0)); then
    rm -f "$SLM_KEPT_DIR"/*
    return 0
  fi
  key=$(kept_prompts_key) || return 0
  drop_unusable_prompts "$key"
  end_cs=$(($(uptime_cs) + SLM_KEPT_LOAD_S * 100))
  while read -r name; do
    seconds=$(seconds_until "$end_cs") || break
    ((slot < SLM_ENGINE_SLOTS)) || break
    read -r _ bytes < <(engine_prompt_bytes "$SLM_KEPT_DIR/$name") || bytes=0
    ((bytes / 4 <= room)) || continue
    if load_prompt "$slot" "$name" "$seconds"; then
      slot=$((slot + 1)) room=$((room - bytes / 4))
    fi
  done < <(kept_prompts newest_first)
  echo "$slot kept prompts loaded"
}

# load_prompt SLOT NAME SECONDS   under another name while the engine reads it: one that it dies of, or hangs on, is not
# tried twice.
load_prompt() {
  local slot=$1 name=$2 seconds=$3 loading=loading.$1 status=0
  if [[ $name != *".$(content_mark "$SLM_KEPT_DIR/$name")" ]]; then
    echo "a kept prompt is damaged and was thrown away"
    rm -f "$SLM_KEPT_DIR/$name"
    return 1
  fi
  mv -fT "$SLM_KEPT_DIR/$name" "$SLM_KEPT_DIR/$loading" || return
  engine_load_prompt "$slot" "$loading" "$seconds" || status=1
  if ((status == 0)) || [[ -n $(engine_progress) ]]; then
    mv -fT "$SLM_KEPT_DIR/$loading" "$SLM_KEPT_DIR/$name"
  else
    rm -f "$SLM_KEPT_DIR/$loading"
  fi
  return "$status"
}

prompts_are_kept() {
  compgen -G "$SLM_KEPT_DIR/*" >/dev/null
}

# kept_prompts ORDER   names, newest_first or oldest_first. An age is a file's time; its name has no blanks.
kept_prompts() {
  local order=-rn
  [[ $1 == newest_first ]] || order=-n
  find "$SLM_KEPT_DIR" -maxdepth 1 -type f -name 'prompt.*' -printf '%T@ %f\n' 2>/dev/null | sort "$order" | cut -d' ' -f2
}

# drop_unusable_prompts KEY   what isn't whole, and what another model, context or engine wrote.
drop_unusable_prompts() {
  find "$SLM_KEPT_DIR" -mindepth 1 -maxdepth 1 ! -name "prompt.$1.*" -exec rm -rf {} + 2>/dev/null || true
}

# drop_kept_prompts_beyond KIB   the oldest go until the rest fits.
drop_kept_prompts_beyond() {
  local kib name
  while read -r name; do
    kib=$(du -sk --apparent-size "$SLM_KEPT_DIR" 2>/dev/null | cut -f1)
    ((${kib:-0} > $1)) || return 0
    rm -f "$SLM_KEPT_DIR/$name"
  done < <(kept_prompts oldest_first)
}

# drop_kept_beginnings FILE KEY   earlier turns of the conversation in FILE: nine tenths of what they hold it holds, too.
# The end of a turn is often worded anew in the next.
drop_kept_beginnings() {
  local file=$1 key=$2 name first bytes same
  while read -r name; do
    read -r first bytes < <(engine_prompt_bytes "$SLM_KEPT_DIR/$name") || continue
    same=$(same_bytes "$file" "$SLM_KEPT_DIR/$name" "$first" "$bytes")
    if ((same * 10 >= bytes * 9)); then
      rm -f "$SLM_KEPT_DIR/$name"
    fi
  done < <(kept_prompts oldest_first | grep "^prompt\.$key\.")
}

# same_bytes FILE FILE FIRST COUNT   how many of COUNT bytes from FIRST on both begin with.
same_bytes() {
  local told
  told=$(cmp -n "$4" -i "$3" "$1" "$2" 2>/dev/null) && printf '%s\n' "$4" && return
  told=${told##*differ: }
  told=${told#* }
  printf '%s\n' "$((${told%%,*} - 1))"
}

# What the files depend on. A model is told by its size, its time and its first and last MiB: reading all of it would
# take longer than what is saved.
kept_prompts_key() {
  {
    printf '%s\n' "$SLM_ENGINE" "$SLM_ENGINE_VERSION" "$SLM_MODEL_ID" &&
      stat -L -c '%s %Y' "$SLM_MODEL_PATH" && head -c 1048576 "$SLM_MODEL_PATH" && tail -c 1048576 "$SLM_MODEL_PATH" &&
      engine_state_facts
  } | sha256sum | cut -c1-16
}

# content_mark FILE   CRC and size, as they stand in its name. Against accidents, not against malice: who could write
# here is the engine itself.
content_mark() {
  local crc bytes
  read -r crc bytes < <(cksum <"$1") && printf '%s.%s\n' "$crc" "$bytes"
}

kept_prompts_limit_kib() {
  local size free limit
  read -r size free < <(df --output=size,avail -k "$SLM_KEPT_DIR" 2>/dev/null | tail -n 1)
  [[ -n ${free:-} ]] || { echo 0 && return; }
  free=$((free + $(du -sk "$SLM_KEPT_DIR" | cut -f1)))
  limit=$((size / 20 < 1048576 ? size / 20 : 1048576))
  [[ ! $SLM_KEPT_PROMPTS_MIB =~ ^[0-9]{1,9}$ ]] || limit=$((10#$SLM_KEPT_PROMPTS_MIB * 1024))
  echo $((limit < free / 2 ? limit : free / 2))
}

# seconds_until CS   what is left until that time since boot, in hundredths as curl takes them; false when it is over.
seconds_until() {
  local left=$(($1 - $(uptime_cs)))
  ((left > 0)) && printf '%d.%02d\n' $((left / 100)) $((left % 100))
}
