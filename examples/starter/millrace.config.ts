import { defineConfig } from 'millrace'

/** Flags and environment variables beat what stands here; `npx millrace run --help` lists all settings. */
export default defineConfig({
  data: './millrace-data',
  port: 8428,
  retentionAge: '7d',
})
