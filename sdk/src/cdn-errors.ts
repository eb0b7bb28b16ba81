/** errors.js */
import { errors } from "./integrations/errors";
import { publish } from "./script";

publish(() => [errors], {}, { errorsOnly: true } as object);
