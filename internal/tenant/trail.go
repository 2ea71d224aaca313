package tenant

import (
	"cmp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/internal/clock"
	"github.com/berth-project/berth/internal/id"
)

// Origin says where a request comes from.
type Origin struct {
	Address string // of the client
	Request string // the request's id
}

// Action says what was done, for example "instance.create".
type Action string

// The actions. Each use case that changes something, or shows credentials, has one.
const (
	ActInstanceCreate      Action = "instance.create"
	ActInstanceDelete      Action = "instance.delete"
	ActInstanceForceDelete Action = "instance.force_delete"
	ActInstanceRestart     Action = "instance.restart"
	ActInstanceStop        Action = "instance.stop"
	ActInstanceStart       Action = "instance.start"
	ActInstanceCredentials Action = "instance.credentials" // they were read
	ActJobCancel           Action = "job.cancel"
	ActWebhookCreate       Action = "webhook.create"
	ActWebhookChange       Action = "webhook.change"
	ActWebhookDelete       Action = "webhook.delete"
	ActWebhookRotate       Action = "webhook.rotate"
	ActWebhookSecret       Action = "webhook.secret" // it was shown again
	ActWebhookPing         Action = "webhook.ping"
	ActDeliveryRepeat      Action = "delivery.repeat"
	ActTenantCreate        Action = "tenant.create"
	ActTenantDelete        Action = "tenant.delete"
	ActTenantRename        Action = "tenant.rename"
	ActQuotaSet            Action = "quota.set"
	ActKeyCreate           Action = "key.create"
	ActKeyRevoke           Action = "key.revoke"
	ActGrantCreate         Action = "grant.create"
	ActGrantEnd            Action = "grant.end"
	ActUserCreate          Action = "user.create"
	ActUserChange          Action = "user.change"
	ActMemberAdd           Action = "member.add"
	ActMemberChange        Action = "member.change"
	ActMemberRemove        Action = "member.remove"
	ActInvitationCreate    Action = "invitation.create"
	ActInvitationUse       Action = "invitation.use"
	ActInvitationWithdraw  Action = "invitation.withdraw"
	ActSessionBegin        Action = "session.begin"
	ActSessionSwitch       Action = "session.switch"
	ActSessionEnd          Action = "session.end"
	ActSessionsEnd         Action = "sessions.end"
	ActPasswordChange      Action = "password.change"
	ActResetCreate         Action = "password_reset.create"
	ActResetUse            Action = "password_reset.use"
	ActHostImport          Action = "host.import"
	ActHostChange          Action = "host.change"
	ActHostReserve         Action = "host.reserve"
	ActHostCordon          Action = "host.cordon"
	ActHostUncordon        Action = "host.uncordon"
	ActHostDrain           Action = "host.drain"
	ActHostInspect         Action = "host.inspect"
	ActHostTakeover        Action = "host.takeover"
	ActHostDelete          Action = "host.delete"
	ActHostForceDelete     Action = "host.force_delete"
	ActDiskAdd             Action = "disk.add"
	ActDiskChange          Action = "disk.change"
	ActDiskRemove          Action = "disk.remove"
	ActRegionAdd           Action = "region.add"
	ActSwarmAdd            Action = "swarm.add"
	ActSwarmRemove         Action = "swarm.remove"
	ActQueuesChange        Action = "queues.change" // on the queues' pages
	ActAuditClean          Action = "audit.clean"   // old entries were removed
	ActRequest             Action = "request"       // of any kind, which was refused
)

// Result says how it ended.
type Result string

// The results. What a job then does is the job's to tell.
const (
	Done     Result = "done"
	Refused  Result = "refused"
	Replayed Result = "replayed" // a repeated request was shown again what the first had shown
)

// Deed is what a principal did.
type Deed struct {
	Action Action
	// Tenant is whose log it belongs to; empty: the principal's tenant.
	Tenant ID
	On     string // id of what it was done to
	Job    id.Job // which goes on with it; empty: none
	// Detail says more in a few words, which hold no secret.
	Detail string
	Result Result // empty: Done
}

// EntryID names an entry of the audit log ("aud_…").
type EntryID string

// EntryPrefix begins the ids of entries.
const EntryPrefix = "aud"

// Platform is whose log has what concerns no tenant.
const Platform ID = ""

// Entry is one entry of the audit log: who did what, on what, from where, when, and with what
// result. It holds no secret.
type Entry struct {
	ID      EntryID
	At      time.Time
	Tenant  ID
	Actor   string // Principal.Name
	User    UserID
	Key     KeyID
	Session SessionID
	Origin
	Action Action
	On     string
	Job    id.Job
	Result Result
	Detail string
}

// Trail writes entries of the audit log in a transaction: they are there if, and only if, what
// they tell of is.
type Trail interface{ InsertEntry(Entry) error }

// Auditor makes entries.
type Auditor struct {
	NewID id.Maker
	Now   clock.Clock
}

// somebody is who a caller is that nobody knows.
const somebody = "somebody"

// The longest texts of an entry, in bytes.
const (
	maxActor  = 200
	maxDetail = 500
	maxOrigin = 100
	maxOn     = 100
)

// Note writes what the principal did.
func (a Auditor) Note(to Trail, p Principal, d Deed) error {
	if d.Tenant == Platform {
		d.Tenant = p.Tenant
	}
	return a.note(to, p, d)
}

// notePlatform writes what the principal did to the platform.
func (a Auditor) notePlatform(to Trail, p Principal, d Deed) error {
	d.Tenant = Platform
	return a.note(to, p, d)
}

func (a Auditor) note(to Trail, p Principal, d Deed) error {
	if d.Result == "" {
		d.Result = Done
	}
	return to.InsertEntry(Entry{
		ID: EntryID(a.NewID(EntryPrefix)), At: a.Now().UTC().Truncate(time.Millisecond), Tenant: d.Tenant,
		Actor: short(cmp.Or(p.Name, somebody), maxActor), User: p.User, Key: p.Key, Session: p.Session,
		Origin: Origin{short(p.From.Address, maxOrigin), short(p.From.Request, maxOrigin)},
		Action: d.Action, On: short(d.On, maxOn), Job: d.Job, Result: d.Result, Detail: short(d.Detail, maxDetail),
	})
}

// short returns the text as it can be kept: valid, and no longer than so many bytes.
func short(text string, most int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= most {
		return text
	}
	cut := most - len("…")
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
