# shellcheck shell=bash
# Loading the model is the longest part of a first boot, so it begins as early as it may.

# begin_idle_engine   the engine's unit waits for its first configuration: as long as there was none, no engine runs and
# nobody is served. Then the model may load while certificate and site are made; what a context can get wrong has been
# judged by now. Later the present configuration serves until the whole stage has succeeded, and the bootstrap stage
# starts or restarts the engine.
begin_idle_engine() {
  [[ ! -e $SLM_ENGINE_ENV ]] || return 0
  engine_configure && engine_begin && clear_pending engine
}
