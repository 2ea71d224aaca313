package main

import "context"

func measureAccept(ctx context.Context, b *bench) error { return nil }
func measureNotice(ctx context.Context, b *bench) error { return nil }
func measurePages(ctx context.Context, b *bench) error  { return nil }
func measurePorts(ctx context.Context, b *bench) error  { return nil }
func measureJobs(ctx context.Context, b *bench) error   { return nil }
func measureSweep(ctx context.Context, b *bench) error  { return nil }
func measureIdle(ctx context.Context, b *bench) error   { return nil }
