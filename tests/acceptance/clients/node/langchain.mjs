// LangChain's tool that draws.

import fs from 'node:fs'

import { DallEAPIWrapper } from '@langchain/openai'

import { API_KEY, BASE_URL, prompt, run } from '../../node/steps.mjs'

const tool = (fields) => new DallEAPIWrapper({ baseUrl: BASE_URL, apiKey: API_KEY, ...fields })
const installed = new URL('../node_modules/@langchain/openai/package.json', import.meta.url)

await run({
  version: async () => JSON.parse(fs.readFileSync(installed)).version,

  url: () => tool().invoke(prompt('url')),
  b64_json: () => tool({ dallEResponseFormat: 'b64_json', model: 'dall-e-2' }).invoke(prompt('b64_json')),
  two: () => tool({ n: 2 }).invoke(prompt('two')),
  wrong_key: () => tool({ apiKey: 'wrong' }).invoke(prompt('wrong_key')),
})
