package engine

import (
	"context"
	"sync"

	"github.com/berth-project/berth/internal/authority"
	"github.com/berth-project/berth/internal/authority/authoritytest"
	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/secret"
)

var theCA = sync.OnceValue(func() *authority.Authority {
	vault, err := secret.NewKeyring(secret.MasterKey())
	if err != nil {
		panic(err)
	}
	a, err := authority.Open(context.Background(), authority.Config{Store: &authoritytest.Store{}, Vault: vault, Deployment: "dep_test", Now: clock.System})
	if err != nil {
		panic(err)
	}
	return a
})
