-- What a replica tells the others for as long as its lease holds (store/store.h: text).
ALTER TABLE slipform.leases ADD COLUMN told text NOT NULL DEFAULT '';
