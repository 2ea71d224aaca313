package tenant

import "context"

// A fence says, for all that is read and written with a context, whose it may be. The API sets
// it once, where it recognizes the caller, and the store keeps it below every query, whatever
// the use case asked for: a tenant's id that somebody forgot to compare is "not found" then,
// and not another tenant's instance.
//
// A context without a fence means every tenant's: workers, the janitor, what looks for all
// who wait in a process, and the command line work on what is theirs by its id.

type fenceKey struct{}

// beyond takes the place of the tenant in a context whose fence was taken away.
type beyond struct{}

// Within returns a context with which only what is the tenant's is read and written; of no
// tenant, that is nothing.
func Within(ctx context.Context, of ID) context.Context {
	return context.WithValue(ctx, fenceKey{}, of)
}

// Beyond returns a context without a fence, for what a request needs that is not its tenant's:
// counts over all tenants, and what one process looks for on behalf of many. Where it is one
// other tenant's, say Within: that is less.
func Beyond(ctx context.Context) context.Context {
	if _, fenced := Fence(ctx); !fenced {
		return ctx
	}
	return context.WithValue(ctx, fenceKey{}, beyond{})
}

// Fence returns the tenant that the context is fenced to, and whether there is a fence.
func Fence(ctx context.Context) (of ID, fenced bool) {
	of, fenced = ctx.Value(fenceKey{}).(ID)
	return of, fenced
}
