package worker

// ProofTime is proofTime.
const ProofTime = proofTime

// UnlikeAsynq has the worker meet an Asynq whose questions it does not recognise.
func (cfg *Config) UnlikeAsynq() { cfg.asks = func([]string) bool { return false } }
