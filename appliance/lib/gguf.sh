# shellcheck shell=bash
# The shape of a model, out of the header of its GGUF file: what one token of context costs, and how many tokens the
# model was trained for. od turns bytes into numbers and awk walks the key/value pairs; no tensor is looked at.

# Headers end after a few MiB, even with a vocabulary of 260,000 words; a broken one must not have us read gigabytes.
SLM_GGUF_HEADER_BYTES=33554432

# read_model_shape FILE   sets MODEL_KIB, MODEL_TOKEN_BYTES (keys and values of one token at 2 bytes an element) and
# MODEL_TRAINED_TOKENS. The last two are 0 where the header doesn't tell. What was found is kept beside the file and
# good as long as the file's size and time are the same.
read_model_shape() {
  local file=$1 stamp kept_stamp='' per_token='' trained=''
  local kept=$file.shape
  stamp=$(stat -L -c '%s.%Y' "$file") || return
  # shellcheck disable=SC2034 # capacity.sh reads the three
  MODEL_KIB=$(((${stamp%.*} + 1023) / 1024))
  if [[ -r $kept ]]; then
    read -r kept_stamp per_token trained <"$kept" || true
  fi
  if [[ $kept_stamp != "$stamp" || ! $per_token =~ ^[0-9]{1,12}$ || ! $trained =~ ^[0-9]{1,12}$ ]]; then
    read -r per_token trained < <(gguf_shape "$file")
    printf '%s %s %s\n' "$stamp" "$per_token" "$trained" | write_atomically 0644 root:root "$kept" 2>/dev/null || true # it only saves time
  fi
  # shellcheck disable=SC2034
  MODEL_TOKEN_BYTES=$per_token MODEL_TRAINED_TOKENS=$trained
}

# gguf_shape FILE   prints bytes a token and trained tokens; "0 0" for a file whose header can't be read.
# llama.cpp writes the model's own keys before the tokenizer's megabytes of words: the walk ends there, unless
# a key that is still wanted comes later.
gguf_shape() {
  local file=$1 facts architecture missing
  facts=$(gguf_walk "$file" tokenizer)
  architecture=$(sed -n 's/^general.architecture //p' <<<"$facts")
  missing=$(gguf_missing_keys "$architecture" <<<"$facts")
  if [[ -n $missing ]] && gguf_mentions "$file" "$missing"; then
    facts=$(gguf_walk "$file" end)
  fi
  gguf_arithmetic "$architecture" <<<"$facts"
}

SLM_GGUF_KEYS=(block_count context_length embedding_length attention.head_count attention.head_count_kv
  attention.key_length attention.value_length)

gguf_missing_keys() {
  local architecture=$1 facts key
  facts=$'\n'$(cat)
  for key in "${SLM_GGUF_KEYS[@]}"; do
    [[ $facts == *$'\n'"$architecture.$key "* ]] || printf '%s.%s\n' "$architecture" "$key"
  done
}

# gguf_mentions FILE KEYS   any of the keys, one a line, stands in what may be the header.
gguf_mentions() {
  local file=$1 keys=$2
  head -c "$SLM_GGUF_HEADER_BYTES" "$file" 2>/dev/null | grep --text --fixed-strings --count --file=<(printf '%s\n' "$keys") >/dev/null
}

# gguf_walk FILE tokenizer|end   prints "KEY LENGTH VALUE" for the keys of the model's shape and "general.architecture
# NAME"; LENGTH is 0 for a plain number, else the array's length, and VALUE is then the sum of its elements. "broken"
# stands at the end of what makes no sense.
gguf_walk() {
  local file=$1 until=$2
  od -An -v -tu1 -w256 -N "$SLM_GGUF_HEADER_BYTES" "$file" 2>/dev/null | awk -v until="$until" '
    function broken() { print "broken"; exit }
    function refill() { if ((getline) <= 0) broken(); at = 1 }
    function skip(n) { while (n > NF - at + 1) { n -= NF - at + 1; refill() } at += n }
    function number(size,   total, weight) {
      for (weight = 1; size > 0; size--) { if (at > NF) refill(); total += $(at++) * weight; weight *= 256 }
      return total
    }
    function text(n,   word) {
      if (n > 200) { skip(n); return "" }
      for (; n > 0; n--) { if (at > NF) refill(); word = word sprintf("%c", $(at++) + 0) }
      return word
    }
    # the sum of the elements where they are wanted whole numbers
    function elements(type, n, wanted,   total) {
      if (type == 8) { for (; n > 0; n--) skip(number(8)) }
      else if (!(type in width)) broken()
      else if (wanted && (type in whole) && n < 100000) { for (; n > 0; n--) total += number(width[type]) }
      else skip(n * width[type])
      return total
    }
    BEGIN {
      split("0 1 1 1 2 2 3 2 4 4 5 4 6 4 7 1 10 8 11 8 12 8", pairs, " ")
      for (i = 1; i in pairs; i += 2) width[pairs[i]] = pairs[i + 1]
      split("0 1 2 3 4 5 10 11", types, " ")
      for (i in types) whole[types[i]] = 1
      at = 1
      if (text(4) != "GGUF") broken()
      version = number(4)
      if (version != 2 && version != 3) broken()
      skip(8) # tensors
      for (pairs_left = number(8); pairs_left > 0; pairs_left--) {
        key = text(number(8)); type = number(4)
        if (until == "tokenizer" && key ~ /^tokenizer\./) exit
        wanted = key ~ /\.(block_count|context_length|embedding_length|attention\.(head_count|head_count_kv|key_length|value_length))$/
        if (type == 8) {
          value = text(number(8))
          if (key == "general.architecture" && value ~ /^[a-z0-9_.-]+$/) print key, value
        } else if (type == 9) {
          type = number(4); n = number(8); value = elements(type, n, wanted)
          if (wanted) printf "%s %.0f %.0f\n", key, n, value
        } else if (type in width) {
          value = number(width[type])
          if (wanted && (type in whole)) printf "%s 0 %.0f\n", key, value
        } else broken()
      }
    }' || true
}

# gguf_arithmetic ARCHITECTURE   the walk's lines on stdin. A layer without key and value heads counts 0 in the array.
gguf_arithmetic() {
  awk -v architecture="$1" '
    $1 == "broken" { broken = 1 }
    index($1, architecture ".") == 1 { key = substr($1, length(architecture) + 2); n[key] = $2; value[key] = $3 }
    function heads(key) { return n[key] > 0 ? value[key] : value[key] * value["block_count"] }
    END {
      all = heads("attention.head_count")
      kv = ("attention.head_count_kv" in value) ? heads("attention.head_count_kv") : all
      size = all > 0 ? value["embedding_length"] * value["block_count"] / all : 0
      k = ("attention.key_length" in value) ? value["attention.key_length"] : size
      v = ("attention.value_length" in value) ? value["attention.value_length"] : size
      bytes = kv * (k + v) * 2
      if (broken || bytes < 0 || bytes > 1e9) bytes = 0
      trained = value["context_length"] + 0
      if (broken || trained > 1e9) trained = 0
      printf "%.0f %.0f\n", bytes, trained
    }'
}
